import * as z from 'zod';
import { type ConfigNode, formatPath, valueOrReport } from '../documents/config-node.ts';
import { collide, LISTEN_FORM, type Listen, type ListenerTls, readListen } from './addresses.ts';
import { type About, required, type Scope, section, valueKey, type Written } from './key.ts';
import { choice, pemFile, spiffeAgent } from './kinds.ts';

const files = section(
  'TLS of the listener.',
  {
    certificate: required(pemFile('PEM: certificate of the listener, with its chain.')),
    private_key: required(pemFile('PEM: private key of `certificate`.')),
    client_ca: pemFile('PEM: trusted issuers of client certificates.', { without: 'no client certificates' }),
    client_certificate: choice(
      ['required', 'optional'],
      'Do clients need a certificate? An invalid one is refused in either case.',
      { without: '`required` with `client_ca`' },
    ),
  },
  {
    check({ clientCa, clientCertificate }, { node }) {
      if (clientCertificate === undefined || clientCa !== undefined || node.at('client_ca').broken) return;
      node.at('client_certificate').error('has no meaning without client_ca: add the file of trusted issuers', 'key');
    },
    finish({ clientCertificate, ...files }) {
      return {
        ...files,
        clientCertificate: files.clientCa === undefined ? undefined : (clientCertificate ?? 'required'),
      };
    },
  },
);

const formError = ({ input }: { readonly input?: unknown }) => (input === undefined ? undefined : LISTEN_FORM);

export const addressSchema = z.string({ error: formError }).min(1, { error: 'must not be empty' });

const endpoint = valueKey(addressSchema, 'address', 'Address: `host:port` or `unix:/path`.', {}, (text: string, node) =>
  valueOrReport(readListen(text), node),
);

export const LISTENER_TLS_KEYS = files.keys ?? {};

const tls = valueKey(
  z.union([z.literal('spiffe'), files.schema], {
    error: 'must be spiffe, or { certificate: { file: … }, private_key: { file: … } }',
  }),
  'map or `spiffe`',
  'TLS of the listener, by the keys below. `spiffe`: the SVID of cambist is its certificate, and clients need an SVID.',
  { page: 'spiffe.md#listeners' },
  (written: 'spiffe' | Parameters<typeof files.read>[0], node, scope): ListenerTls | undefined => {
    if (written !== 'spiffe') return files.read(written, node, scope);
    return spiffeAgent(node, scope) === undefined ? undefined : written;
  },
);

export const LISTENER_KEYS = { address: required(endpoint), tls };

const listener = section('An address, and TLS.', LISTENER_KEYS, {
  finish({ address, ...secure }, { node }): Listen | undefined {
    if (secure.tls === undefined) return address;
    if (address.kind === 'tcp') return { ...address, tls: secure.tls };
    node.at('tls').error('has no meaning for a Unix socket, which only this machine can reach: remove it', 'key');
    return undefined;
  },
});

/** Where a listener opens. It must differ from the addresses that have been read. */
export function address<const Rules extends About>(description: string, rules: Rules) {
  const schema = z.union([addressSchema, listener.schema], { error: formError });
  return valueKey(schema, 'address', description, rules, readWritten);
}

function readWritten(written: string | Written<typeof LISTENER_KEYS>, node: ConfigNode, scope: Scope) {
  const own = typeof written === 'string' ? endpoint.read(written, node, scope) : listener.read(written, node, scope);
  if (own === undefined) return undefined;
  for (const [key, other] of scope.listeners) {
    if (collide(own, other)) node.error(`has the same address as ${key}: change one`);
  }
  scope.listeners.set(formatPath(node.path), own);
  return own;
}
