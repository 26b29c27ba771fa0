import * as z from 'zod';
import { type ConfigNode, type Reading, readEach, valueOrReport } from '../documents/config-node.ts';
import { type Endpoint, mayUsePlainHttp, withBrackets } from '../host-names.ts';
import { type CredentialSource, MIN_KEY_LENGTH } from '../secrets/credential.ts';
import { readListen } from './addresses.ts';
import { optionalSection, required, type Scope, type Values, valueKey } from './key.ts';
import { credentialSource, duration, flag, nonEmptyText, type TlsFiles, text, tls, word } from './kinds.ts';
import type { WrittenSource } from './sources.ts';

const DEFAULT_PORT = 6379;
const NO_TLS: TlsFiles = { ca: undefined, certificate: undefined, privateKey: undefined };

const nodeAddress = z
  .string('must be host:port, as in valkey-0.valkey.agents.svc:6379')
  .min(1, { error: 'must not be empty' })
  .meta({ description: 'Address: `host:port`.' });

const nodes = (description: string) =>
  valueKey(z.array(nodeAddress).min(1).max(100), 'list of `host:port`', description, {}, readNodes);

function readNodes(written: readonly (string | undefined)[], node: ConfigNode): readonly Endpoint[] | undefined {
  const found = readEach(written, node, readNode);
  return found.length === 0 || found.length < written.length ? undefined : found;
}

function readNode(written: string): Reading<Endpoint> {
  const reading = readListen(written);
  if ('problem' in reading || reading.value.kind === 'unix' || reading.value.port === 0) {
    return { problem: 'must have a host and a port, as in valkey.agents.svc:6379' };
  }
  const { host, port } = reading.value;
  return { value: { host, port } };
}

/** Problems do not quote the URL, which may contain a password. */
function readUrl(written: string): Reading<Endpoint & { readonly isTls: boolean }> {
  const [, scheme, authority = '', rest = ''] = /^([a-z]+):\/\/([^/?#]*)([/?#].*)?$/is.exec(written) ?? [];
  if (scheme === undefined || !/^(?:rediss?|valkeys?)$/i.test(scheme)) {
    return { problem: 'must start with rediss:// or redis://' };
  }
  if (authority.includes('@')) {
    return {
      problem:
        'must not contain a user name or password: set username and password: { file } beside it, and remove everything up to and including the "@"',
    };
  }
  if (rest !== '' && rest !== '/') return { problem: 'must end after the port: remove the path and the query' };
  const reading = readNode(/:\d+$/.test(authority) ? authority : `${authority}:${DEFAULT_PORT}`);
  return 'problem' in reading ? reading : { value: { ...reading.value, isTls: /^(?:rediss|valkeys)$/i.test(scheme) } };
}

const key = credentialSource('Secret of at least 32 random characters.').schema;

function readSecrets(
  written: WrittenSource | readonly (WrittenSource | undefined)[],
  node: ConfigNode,
  { sources }: Scope,
): readonly CredentialSource[] {
  const all = Array.isArray(written)
    ? written.map((each, index) => each && sources.credential(each, node.at(index), MIN_KEY_LENGTH))
    : [sources.credential(written as WrittenSource, node, MIN_KEY_LENGTH)];
  return all.filter((source) => source !== undefined);
}

const sharedCacheKeys = {
  url: valueKey(
    nonEmptyText,
    '`rediss://host:port` or `redis://host:port`',
    'Server: `rediss://host:port` for TLS, or `redis://host:port`. Without a user name or password. Exactly one of `url`, `sentinel` and `cluster`.',
    { examples: ['rediss://valkey.agents.svc:6379'], page: 'shared-cache.md' },
    (written: string, node) => valueOrReport(readUrl(written), node),
  ),
  sentinel: optionalSection('Sentinels that know the current primary, instead of `url`.', {
    name: required(text('Name of the primary at the sentinels.', { form: 'name' })),
    hosts: required(nodes('Addresses of the sentinels.')),
    username: text('User at the sentinels.', { form: 'name' }),
    password: credentialSource('Password at the sentinels.'),
  }),
  cluster: nodes(
    'Some nodes of a cluster, instead of `url`. The others are discovered. Without `url`, the key `tls` turns TLS on.',
  ),
  username: text('User at the server (ACL).', { form: 'name', page: 'shared-cache.md#permissions' }),
  password: credentialSource('Password at the server.'),
  tls: tls('TLS to the server. With `sentinel` and `cluster`, this key turns TLS on.'),
  allow_insecure_tcp: flag(
    'Allow connections without TLS to any host. By default, only to loopback and internal names. The password crosses the network in clear text.',
    { default: false },
  ),
  key: required(
    valueKey(
      z.union([key, z.array(key).min(1).max(8)], {
        error: ({ input }) =>
          input === undefined ? undefined : 'must be { file: … } or { env: … }, or a list of them',
      }),
      'secret, or a list of secrets',
      'Secrets that all replicas share. The first one seals, all of them open.',
      { page: 'shared-cache.md#the-key' },
      readSecrets,
    ),
  ),
  prefix: word(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'must consist of letters, digits, ".", "_" and "-", at most 64',
    'Beginning of every key and channel at the server.',
    { default: 'cambist', form: 'name' },
  ),
  timeout: duration('Longest time that a request waits for the server, from 1ms to 5s.', {
    default: '100ms',
    min: '1ms',
    max: '5s',
  }),
};

type Parts = Values<typeof sharedCacheKeys>;

/** The second level of the cache, which replicas share. */
export interface SharedCache extends Omit<Parts, 'url' | 'sentinel' | 'cluster' | 'key'> {
  readonly server: StoreServer;
  /** The first one seals, all of them open. Never empty. */
  readonly keys: readonly CredentialSource[];
}

const PLACES = ['url', 'sentinel', 'cluster'] as const;

export const sharedCache = optionalSection(
  'Cache of issued tokens that several replicas share, on Valkey or Redis. Off by default.',
  sharedCacheKeys,
  {
    restart: 'change',
    check({ url }, { node }, written) {
      const [place, ...more] = PLACES.filter((name) => written[name] !== undefined || node.at(name).broken);
      if (place === undefined) node.error('names no server: set "url", "sentinel" or "cluster"');
      if (more.length > 0) node.error(`has "${[place, ...more].join('" and "')}": keep one of them`);
      if (url?.isTls === false && written.tls !== undefined) {
        node.at('tls').error('has no effect with redis://: write rediss:// in url', 'key');
      }
      if (written.username !== undefined && written.password === undefined && !node.broken) {
        node.error('has "username" without "password": set both, or remove it');
      }
    },
    finish({ url, sentinel, cluster, key: keys, ...others }, { node }): SharedCache | undefined {
      const server = serverOf({ url, sentinel, cluster });
      if (server === undefined || keys.length === 0) return undefined;
      // The scheme of a URL decides. Without a URL, the presence of `tls` does.
      const withUrl = url?.isTls === true ? (others.tls ?? NO_TLS) : undefined;
      const tls = url === undefined ? others.tls : withUrl;
      if (!others.allowInsecureTcp && tls === undefined) refuseOpenNetworks(server, node);
      return node.broken ? undefined : { ...others, server, keys, tls };
    },
  },
);

/** Where the server of the shared cache is found. */
export type StoreServer = NonNullable<ReturnType<typeof serverOf>>;

function serverOf({ url, sentinel, cluster }: Partial<Pick<Parts, 'url' | 'sentinel' | 'cluster'>>) {
  if (url !== undefined) return { kind: 'standalone', node: { host: url.host, port: url.port } } as const;
  if (cluster !== undefined) return { kind: 'cluster', nodes: cluster } as const;
  if (sentinel === undefined) return undefined;
  const { hosts, ...others } = sentinel;
  return { kind: 'sentinel', nodes: hosts, ...others } as const;
}

/** Passwords and the pattern of use would be visible. Values are sealed anyway. */
function refuseOpenNetworks(server: StoreServer, node: ConfigNode): void {
  const all = server.kind === 'standalone' ? [server.node] : server.nodes;
  if (all.every(({ host }) => mayUsePlainHttp(withBrackets(host)))) return;
  const [place, fix] = server.kind === 'standalone' ? ['url', 'use rediss://'] : [server.kind, 'set tls'];
  const why = 'plain TCP would show the password to the network outside this machine and cluster';
  node
    .at(place)
    .error(`must use TLS, because ${why}: ${fix}, or set allow_insecure_tcp: true if you trust the network`);
}
