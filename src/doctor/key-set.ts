import { createLocalJWKSet, type JSONWebKeySet, type JWK } from 'jose';
import { ASYMMETRIC_ALGORITHMS } from '../config/algorithms.ts';
import { type FindingCode, fine, problem, shortAscii } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';

export interface UsableKey {
  /** Its `kid`. Undefined if it has none. */
  readonly name: string | undefined;
  readonly algorithms: readonly string[];
}

/**
 * Reads the response to the request for an issuer's keys. A key is usable if jose uses it, as in the running proxy.
 * @param at path of the rules in the config
 * @param configured true if the address comes from the config, false if from the issuer's metadata
 * @see RFC 7517 section 5
 */
export async function readKeySet(
  request: RecordedRequest,
  { at, configured }: { readonly at: string; readonly configured: boolean },
) {
  const { url, status, error } = request;
  const where = configured
    ? `check ${at}.jwks_uri`
    : `fix the "jwks_uri" of the issuer's metadata, or set ${at}.jwks_uri`;
  const unusable = (code: FindingCode, what: string, why: string, fix = where) => {
    return { finding: problem(code, what, { why, fix }), keys: [] };
  };
  if (status !== 200) {
    return unusable(
      'keys_unavailable',
      `the request for keys at ${url} returned ${status ?? 'nothing'}`,
      ...whyNot200(status, at),
    );
  }
  if (error !== undefined) {
    return unusable(
      'keys_unavailable',
      `the response with the keys at ${url} is incomplete`,
      'it was aborted, took too long, or is larger than any key set',
    );
  }
  const members = membersOf(request);
  if (members === undefined) {
    return unusable(
      'keys_unusable',
      `${url} returns 200, but not a key set`,
      'a key set is JSON with a list of "keys", each an object (RFC 7517)',
    );
  }
  const keys = (await Promise.all(members.map(readKey))).filter((key) => key !== undefined);
  if (keys.length === 0) {
    return unusable(
      'keys_unusable',
      `none of the ${members.length} keys at ${url} can verify tokens`,
      'verification requires a public RSA, EC or OKP key for signatures; encryption keys and shared secrets do not count',
      `configure the issuer to sign with RS256 or ES256, or ${where}`,
    );
  }
  return {
    finding: fine(
      'keys_found',
      `${keys.length === 1 ? 'one key' : `${keys.length} keys`} at ${url} for verification: ${describeKeys(keys)}`,
    ),
    keys,
  };
}

/** Reasons and fixes of an API server of Kubernetes. */
const KEYS_REFUSED = {
  401: [
    'an API server shows its keys to service accounts only, and does not accept this token',
    "set jwks_token to the file of cambist's own service account token, with automountServiceAccountToken: true",
  ],
  403: [
    'the service account of the token, or of requests without one, may not read the keys of the cluster',
    "bind the ClusterRole system:service-account-issuer-discovery to cambist's service account, and set jwks_token",
  ],
} as const;

function whyNot200(status: number | undefined, at: string): readonly [why: string, fix?: string] {
  if (isOfAgents(at) && (status === 401 || status === 403)) return KEYS_REFUSED[status];
  return ['cambist requests keys without a token and follows no redirects'];
}

/** @param at path of the rules in the config */
export function isOfAgents(at: string): boolean {
  return at.startsWith('agents.');
}

/** @returns undefined if the proxy would reject the key set; one malformed member is enough */
function membersOf(request: RecordedRequest): readonly JWK[] | undefined {
  const set = jsonBodyOf(request) as unknown as JSONWebKeySet;
  try {
    createLocalJWKSet(set);
    return set.keys;
  } catch {
    return undefined;
  }
}

async function readKey(jwk: JWK): Promise<UsableKey | undefined> {
  const algorithms: string[] = [];
  for (const alg of ASYMMETRIC_ALGORITHMS) {
    try {
      await createLocalJWKSet({ keys: [jwk] })({ alg });
      algorithms.push(alg);
    } catch {
      // The key does not support this algorithm.
    }
  }
  if (algorithms.length === 0) return undefined;
  return { name: typeof jwk.kid === 'string' ? jwk.kid : undefined, algorithms };
}

export function describeKeys(keys: readonly UsableKey[]): string {
  const named = keys.map(({ name, algorithms }) => {
    const [first = '', ...more] = algorithms;
    return `${name === undefined ? '(unnamed)' : `"${name}"`} (${first}${more.length === 0 ? '' : ' and others'})`;
  });
  return shortAscii(named.join(', '));
}
