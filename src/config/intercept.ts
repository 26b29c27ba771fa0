import { relative } from 'node:path';
import * as z from 'zod';
import { type ConfigNode, formatPath, type Reading } from '../documents/config-node.ts';
import { collide, readListen, type TcpListen } from './addresses.ts';
import {
  optionalSection,
  readAll,
  required,
  type Scope,
  schemaOf,
  type ValueOf,
  valueKey,
  type Written,
} from './key.ts';
import { folder, list, pemFile } from './kinds.ts';
import { addressSchema } from './listen.ts';

/** The source of the certificate authority whose certificates intercepted connections get. */
export type InterceptAuthority =
  /** Made at start and kept in memory. */
  | { readonly kind: 'ephemeral' }
  /** Made once in this folder, and found again after a restart. */
  | { readonly kind: 'dir'; readonly dir: string }
  /** PEM files of an authority that another program made. */
  | { readonly kind: 'files'; readonly certificate: string; readonly privateKey: string };

const made = { dir: required(folder('Folder of the authority, for cambist alone.')) };

const files = {
  certificate: required(pemFile('PEM: certificate of the authority.')),
  private_key: required(pemFile('PEM: private key of `certificate`.')),
};

const authority = z.union([z.literal('ephemeral'), schemaOf(made), schemaOf(files)], {
  error: 'must be ephemeral, { dir: /path }, or { certificate: { file: … }, private_key: { file: … } }',
});

function readAuthority(
  written: 'ephemeral' | (Written<typeof made> & Written<typeof files>),
  node: ConfigNode,
  scope: Scope,
): InterceptAuthority | undefined {
  if (node.broken) return undefined;
  if (written === 'ephemeral') return { kind: 'ephemeral' };
  const { dir } = readAll(made, written, node, scope);
  if (dir !== undefined) return { kind: 'dir', dir };
  const { certificate, privateKey } = readAll(files, written, node, scope);
  return certificate === undefined || privateKey === undefined ? undefined : { kind: 'files', certificate, privateKey };
}

function readAddress(written: string, node: ConfigNode, { listeners }: Scope): Reading<TcpListen> {
  const read = readListen(written);
  if ('problem' in read) return read;
  const { value } = read;
  if (value.kind === 'unix') return { problem: 'must be host:port: names and packets lead to no Unix socket' };
  const taken = [...listeners].find(([, other]) => collide(value, other));
  if (taken !== undefined) return { problem: `is also the address of ${taken[0]}: change one` };
  listeners.set(formatPath(node.path), value);
  return { value };
}

export const intercept = optionalSection(
  'Terminates TLS from agents, for the hosts of routes.',
  {
    ca: valueKey(
      authority,
      '`ephemeral`, `{ dir }`, `{ certificate: { file }, private_key: { file } }`',
      'Certificate authority: made at each start, made once in a folder (`dir`), or read from files (`certificate`, `private_key`).',
      { default: 'ephemeral', page: 'intercept.md#the-certificate-authority' },
      readAuthority,
    ),
    trust_dir: folder('Folder for the files that make agents trust the authority.', {
      default: '/run/cambist/trust',
      page: 'intercept.md#the-trust-folder',
    }),
    listen: list(
      'Addresses where connections arrive that names or packets lead here, instead of a proxy variable.',
      {
        examples: [['127.0.0.1:443', '127.0.0.1:80']],
        form: 'list of addresses',
        page: 'intercept.md#without-proxy-variables',
      },
      readAddress,
      addressSchema.meta({ description: 'Address: `host:port`.' }),
    ),
  },
  {
    restart: 'change',
    check({ ca, trustDir = '/', listen }, { node, scope }) {
      if (scope.listeners.get('listen')?.kind === 'unix' && listen?.length === 0) {
        node.warn('has no effect: listen is a Unix socket, which no proxy variable can name', 'key');
      }
      if (ca?.kind === 'dir' && !relative(trustDir, ca.dir).startsWith('..')) {
        const why = 'contains the folder of the private key, which agents must not read: use another folder';
        node.at('trust_dir').error(why);
      }
    },
  },
);

/** Termination of TLS from agents. With any `listen`, names are resolved by DNS alone. */
export type Intercept = NonNullable<ValueOf<typeof intercept>>;
