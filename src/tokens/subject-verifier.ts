import { errors, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import type { SubjectVerification } from '../config/config.ts';
import { ASYMMETRIC_ALGORITHMS } from '../config/schema-authorization-server.ts';
import { CambistError } from '../errors.ts';
import { EXPIRY_LEEWAY_MS } from './claims.ts';
import type { Clock } from './clock.ts';
import { createIssuerKeys } from './jwks.ts';
import type { Subject } from './subject.ts';

/** A token is verified once in this time, so that a key that was withdrawn counts soon. */
const VERIFIED_LIFE_MS = 5 * 60 * 1000;
const MAX_VERIFIED = 10_000;

/** Holds subject tokens to what a route wants of them. */
export interface SubjectVerifier {
  /**
   * Returns at once for a token that was found good before.
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, or ERR_STS_UNAVAILABLE where the keys cannot be had
   */
  verify(subject: Subject, rules: SubjectVerification): undefined | Promise<void>;
}

/** @param dispatcher gives the connection pool for the keys; `ca` is a PEM file */
export function createSubjectVerifier(
  dispatcher: (rules: SubjectVerification) => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
): SubjectVerifier {
  const verified = new LRUCache<string, true>({
    max: MAX_VERIFIED,
    ttl: VERIFIED_LIFE_MS,
    ttlResolution: 0,
    perf: { now: () => clock.monotonicMs() },
  });
  const keysOf = new Map<string, JWTVerifyGetKey>();
  const names = new WeakMap<SubjectVerification, string>();

  /** What two routes want alike is verified once. */
  function nameOf(rules: SubjectVerification): string {
    let name = names.get(rules);
    if (name === undefined) {
      name = JSON.stringify(rules);
      names.set(rules, name);
    }
    return name;
  }

  function keysFor(rules: SubjectVerification): JWTVerifyGetKey {
    const { issuer, jwksUri, ca, allowInsecureHttp } = rules;
    const name = JSON.stringify([issuer, jwksUri, ca, allowInsecureHttp]);
    const known = keysOf.get(name) ?? createIssuerKeys(rules, () => dispatcher(rules), clock);
    keysOf.set(name, known);
    return known;
  }

  async function check(subject: Subject, rules: SubjectVerification, key: string): Promise<void> {
    const options = {
      issuer: rules.issuer,
      ...(rules.audience !== 'any' && { audience: [...rules.audience] }),
      algorithms: [...ASYMMETRIC_ALGORITHMS],
      requiredClaims: ['exp'],
      clockTolerance: EXPIRY_LEEWAY_MS / 1000,
      currentDate: new Date(clock.wallMs()),
    };
    const token = subject.token.reveal();
    const keys = keysFor(rules);
    try {
      await jwtVerify(token, keys, options).catch(async (error: unknown) => {
        if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
        await verifyWithAny(token, error, options);
      });
    } catch (error) {
      if (error instanceof CambistError) throw error;
      throw new CambistError(
        'ERR_SUBJECT_TOKEN_INVALID',
        `the subject token is not what issuer "${rules.issuer}" signs for ${JSON.stringify(rules.audience)}: ${reasonOf(error)}`,
      );
    }
    verified.set(key, true);
  }

  return {
    verify(subject, rules) {
      const key = `${subject.digest}:${nameOf(rules)}`;
      return verified.get(key) === true ? undefined : check(subject, rules, key);
    },
  };
}

/** A token without key id, of an issuer with several keys. */
async function verifyWithAny(
  token: string,
  candidates: InstanceType<typeof errors.JWKSMultipleMatchingKeys>,
  options: Parameters<typeof jwtVerify>[2],
): Promise<void> {
  let failure: unknown = candidates;
  for await (const key of candidates) {
    try {
      await jwtVerify(token, key, options);
      return;
    } catch (error) {
      failure = error;
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) break;
    }
  }
  throw failure;
}

/** Words of our own: the library's may quote the token. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired';
  if (error instanceof errors.JWTClaimValidationFailed) return `its "${claimName(error.claim)}" does not fit`;
  if (error instanceof errors.JOSEAlgNotAllowed) return 'its algorithm is not allowed';
  if (error instanceof errors.JWKSNoMatchingKey) return 'no key of the issuer fits';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong';
  return 'it is no signed JWT that can be read';
}

function claimName(claim: string): string {
  return ['iss', 'aud', 'exp', 'nbf', 'iat'].includes(claim) ? claim : 'claims';
}
