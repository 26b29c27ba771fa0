import type { AssertionFrom, ClientAuth, Servers } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Loose } from './loose.ts';
import { readDuration } from './quantities.ts';
import { ASYMMETRIC_ALGORITHMS, type ClientAuthFile, HMAC_ALGORITHMS } from './schema-authorization-server.ts';
import type { Sources } from './sources.ts';
import { ABSOLUTE_URI } from './units.ts';

type Method = ClientAuthFile['method'];
type Key = Exclude<keyof ClientAuthFile, 'method'>;

/** The keys of each method. `true`: required. */
const KEYS: Record<Method, Partial<Record<Key, boolean>>> = {
  none: {},
  client_secret_basic: { client_secret: true, basic_encoding: false },
  client_secret_post: { client_secret: true },
  client_secret_jwt: { client_secret: true, alg: false, assertion_audience: false, assertion_lifetime: false },
  private_key_jwt: {
    private_key: true,
    alg: false,
    key_id: false,
    certificate: false,
    assertion_audience: false,
    assertion_lifetime: false,
  },
  client_assertion: { client_assertion: false, from: false, client_assertion_type: false },
  tls_client_auth: {},
};

/** An assertion with a longer life is worth stealing, and servers refuse it. */
const MAX_ASSERTION_LIFETIME = '10m';

/** Reads `client_auth`. Undefined after an error, which is reported to `node`. */
export function resolveClientAuth(
  written: Loose<ClientAuthFile>,
  node: ConfigNode,
  sources: Sources,
  servers: Servers,
): ClientAuth | undefined {
  const { method } = written;
  const clientSecret = sources.credential(written.client_secret, node.at('client_secret'));
  const privateKey = sources.credential(written.private_key, node.at('private_key'));
  const certificate = sources.credential(written.certificate, node.at('certificate'));
  const clientAssertion = sources.credential(written.client_assertion, node.at('client_assertion'));
  const assertion = {
    assertionAudience: written.assertion_audience,
    assertionLifetimeMs: readDuration(
      written.assertion_lifetime ?? DEFAULTS.assertionLifetime,
      node.at('assertion_lifetime'),
      { min: '1s', max: MAX_ASSERTION_LIFETIME },
    ),
  };
  if (method === undefined) return undefined;
  checkKeys(method, written, node);
  switch (method) {
    case 'none':
    case 'tls_client_auth':
      return { method };
    case 'client_secret_basic':
      if (clientSecret === undefined) return undefined;
      return { method, clientSecret, basicEncoding: written.basic_encoding ?? DEFAULTS.basicEncoding };
    case 'client_secret_post':
      if (clientSecret === undefined) return undefined;
      return { method, clientSecret };
    case 'client_secret_jwt':
      checkAlgorithm(written.alg, HMAC_ALGORITHMS, 'a shared secret', node);
      if (clientSecret === undefined) return undefined;
      return { method, clientSecret, alg: written.alg ?? DEFAULTS.secretAlgorithm, ...assertion };
    case 'private_key_jwt':
      checkAlgorithm(written.alg, ASYMMETRIC_ALGORITHMS, 'a private key', node);
      if (privateKey === undefined) return undefined;
      return { method, privateKey, alg: written.alg, keyId: written.key_id, certificate, ...assertion };
    case 'client_assertion': {
      const clientAssertionType = written.client_assertion_type ?? DEFAULTS.clientAssertionType;
      if (!ABSOLUTE_URI.test(clientAssertionType)) {
        node.at('client_assertion_type').error(`must be a full URN, as in ${DEFAULTS.clientAssertionType}`);
      }
      const from = written.from === undefined ? undefined : readFrom(written.from, node.at('from'), servers);
      if ((written.client_assertion === undefined) === (written.from === undefined) && !node.broken) {
        node.error('method "client_assertion" needs one of "client_assertion" and "from": set one of them');
      }
      const source = clientAssertion ?? from;
      return source && { method, clientAssertion: source, clientAssertionType };
    }
    default:
      return method satisfies never;
  }
}

function readFrom(
  { authorization_server: name, scope }: NonNullable<Loose<ClientAuthFile>['from']>,
  node: ConfigNode,
  servers: Servers,
): AssertionFrom | undefined {
  if (name === undefined) return undefined;
  const authorizationServer = servers.get(name);
  if (!servers.has(name)) {
    node
      .at('authorization_server')
      .error('must name another authorization server whose own client_auth has no "from": check the name');
  }
  return authorizationServer && { authorizationServer, scope: scope ?? DEFAULTS.assertionScope };
}

function checkAlgorithm(alg: string | undefined, known: readonly string[], of: string, node: ConfigNode) {
  if (alg !== undefined && !known.includes(alg)) {
    node.at('alg').error(`must be an algorithm for ${of}: one of ${known.join(', ')}`);
  }
}

function checkKeys(method: Method, written: Loose<ClientAuthFile>, node: ConfigNode) {
  const keys = new Map(Object.entries(KEYS[method]));
  for (const [key, required] of keys) {
    if (required && written[key as Key] === undefined && !node.at(key).broken) {
      node.error(`missing key "${key}": method "${method}" needs it`);
    }
  }
  for (const key of Object.keys(written)) {
    if (key === 'method' || keys.has(key) || written[key as Key] === undefined) continue;
    const owners = Object.entries(KEYS).filter(([, owned]) => key in owned);
    const names = owners.map(([name]) => name).join(', ');
    node
      .at(key)
      .error(`has no meaning for method "${method}", only for ${names}: remove it, or change the method`, 'key');
  }
}
