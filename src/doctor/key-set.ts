import { createLocalJWKSet, type JSONWebKeySet, type JWK } from 'jose';
import { ASYMMETRIC_ALGORITHMS } from '../config/schema-authorization-server.ts';
import { type Finding, fine, printable, problem } from './finding.ts';
import { jsonBodyOf, type RecordedRequest } from './recorded-request.ts';

/** A public key that a token can be verified by. */
export interface UsableKey {
  /** What tokens call it by (`kid`); undefined: it has no name. */
  readonly name: string | undefined;
  /** JWS algorithms that it is for. */
  readonly algorithms: readonly string[];
}

/** What an issuer's key set holds, and what that means. */
export interface KeySetReading {
  readonly finding: Finding;
  /** Empty where the finding is an error. */
  readonly keys: readonly UsableKey[];
}

/** Where the config says where the keys are. */
const PLACE = 'subject_token.verify.jwks_uri';

/**
 * What the answer to the request for an issuer's keys means, and which of them are of use: those that the program itself, by
 * jose, would take. Pure.
 * @param set does the config say where the keys are, and not the issuer's metadata?
 * @see RFC 7517 section 5
 */
export async function readKeySet(answer: RecordedRequest, set: boolean): Promise<KeySetReading> {
  const { url, status, error } = answer;
  const where = set ? `check ${PLACE}` : `fix the "jwks_uri" of the issuer's metadata, or set ${PLACE}`;
  const none = (finding: Finding) => ({ finding, keys: [] });
  if (status !== 200) {
    const what = `the keys at ${url} are answered with ${status ?? 'nothing'}`;
    return none(
      problem('keys_unavailable', what, {
        why: 'they are asked for without a token, and no redirect is followed',
        fix: where,
      }),
    );
  }
  if (error !== undefined) {
    return none(
      problem('keys_unavailable', `the answer with the keys at ${url} was not read to its end`, {
        why: 'it broke off, took too long, or is larger than any key set',
        fix: where,
      }),
    );
  }
  const members = membersOf(answer);
  if (members === undefined) {
    return none(
      problem('keys_unusable', `${url} answers 200, and not with a key set`, {
        why: 'a key set is JSON with a list of "keys", each an object (RFC 7517)',
        fix: where,
      }),
    );
  }
  const keys = (await Promise.all(members.map(readKey))).filter((key) => key !== undefined);
  if (keys.length === 0) {
    return none(
      problem('keys_unusable', `no key at ${url} is one that tokens can be verified by: ${members.length} in all`, {
        why: 'it takes a public key for signatures, of RSA, EC or OKP; others are for encryption, or shared secrets',
        fix: `let the issuer sign with RS256 or ES256, or ${where}`,
      }),
    );
  }
  return { finding: fine('keys_found', `${counted(keys.length)} to verify by at ${url}: ${describeKeys(keys)}`), keys };
}

/** @returns undefined where the answer is no key set to the program; one odd member is enough */
function membersOf(answer: RecordedRequest): readonly JWK[] | undefined {
  const set = jsonBodyOf(answer) as unknown as JSONWebKeySet;
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
      // Not for this one.
    }
  }
  if (algorithms.length === 0) return undefined;
  return { name: typeof jwk.kid === 'string' ? jwk.kid : undefined, algorithms };
}

function counted(number: number): string {
  return number === 1 ? 'a key' : `${number} keys`;
}

/** Names of keys and what they are for, as they stand in a sentence. */
export function describeKeys(keys: readonly UsableKey[]): string {
  const named = keys.map(({ name, algorithms }) => {
    const [first = '', ...more] = algorithms;
    return `${name === undefined ? 'one without a name' : `"${name}"`} (${first}${more.length === 0 ? '' : ' and others'})`;
  });
  return printable(named.join(', '));
}
