import type { ClientAuth } from './config.ts';
import { DEFAULTS } from './defaults.ts';
import type { Place } from './place.ts';
import { readDuration } from './quantities.ts';
import type { Loose } from './schema.ts';
import { ASYMMETRIC_ALGORITHMS, type ClientAuthFile } from './schema-authorization-server.ts';
import type { Sources } from './sources.ts';
import { isUnsupported, refuseUnsupported } from './unsupported.ts';

type Method = ClientAuthFile['method'];
type Key = Exclude<keyof ClientAuthFile, 'method'>;

/** The keys of each method; `true`: it cannot do without. */
const KEYS: Record<Method, Partial<Record<Key, boolean>>> = {
  none: {},
  client_secret_basic: { client_secret: true, basic_encoding: false },
  client_secret_post: { client_secret: true },
  client_secret_jwt: { client_secret: true, alg: false, assertion_audience: false, assertion_lifetime: false },
  private_key_jwt: {
    private_key: true,
    alg: false,
    key_id: false,
    assertion_audience: false,
    assertion_lifetime: false,
  },
  client_assertion: { client_assertion: true, client_assertion_type: false },
  tls_client_auth: {},
};

/** An assertion that lives longer is worth stealing; servers refuse it as well. */
const MAX_ASSERTION_LIFETIME = '10m';

/** Client authentication as it is written → as it is done. Undefined: something is wrong with it, and `place` knows. */
export function resolveClientAuth(
  written: Loose<ClientAuthFile>,
  place: Place,
  sources: Sources,
): ClientAuth | undefined {
  refuseUnsupported('client_auth', written, place);
  const { method } = written;
  const clientSecret = sources.credential(written.client_secret, place.at('client_secret'));
  const privateKey = sources.credential(written.private_key, place.at('private_key'));
  if (written.client_assertion?.file !== undefined) {
    sources.file(written.client_assertion.file, place.at('client_assertion', 'file'));
  }
  const assertionLifetimeMs = readDuration(
    written.assertion_lifetime ?? DEFAULTS.assertionLifetime,
    place.at('assertion_lifetime'),
    { min: '1s', max: MAX_ASSERTION_LIFETIME },
  );
  if (method === undefined) return undefined;
  checkKeys(method, written, place);
  if (isUnsupported('client_auth', 'method', method)) return undefined;
  switch (method) {
    case 'none':
      return { method };
    case 'client_secret_basic':
      if (clientSecret === undefined) return undefined;
      return { method, clientSecret, basicEncoding: written.basic_encoding ?? DEFAULTS.basicEncoding };
    case 'client_secret_post':
      if (clientSecret === undefined) return undefined;
      return { method, clientSecret };
    case 'private_key_jwt':
      if (written.alg !== undefined && !(ASYMMETRIC_ALGORITHMS as readonly string[]).includes(written.alg)) {
        place.at('alg').error(`must be an algorithm of a private key: one of ${ASYMMETRIC_ALGORITHMS.join(', ')}`);
      }
      if (privateKey === undefined) return undefined;
      return {
        method,
        privateKey,
        alg: written.alg,
        keyId: written.key_id,
        assertionAudience: written.assertion_audience,
        assertionLifetimeMs,
      };
    default:
      return method satisfies never;
  }
}

function checkKeys(method: Method, written: Loose<ClientAuthFile>, place: Place) {
  const keys = new Map(Object.entries(KEYS[method]));
  for (const [key, required] of keys) {
    if (required && written[key as Key] === undefined && !place.at(key).broken) {
      place.error(`missing key "${key}": method "${method}" needs it`);
    }
  }
  for (const key of Object.keys(written)) {
    if (key === 'method' || keys.has(key) || written[key as Key] === undefined) continue;
    const owners = Object.entries(KEYS).filter(([, owned]) => key in owned);
    const names = owners.map(([name]) => name).join(', ');
    place
      .at(key)
      .error(`does not belong to method "${method}" but to ${names}: remove it, or change the method`, 'key');
  }
}
