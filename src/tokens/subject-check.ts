import { errors, jwtVerify } from 'jose';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/config.ts';
import { ASYMMETRIC_ALGORITHMS } from '../config/schema-authorization-server.ts';
import { CambistError } from '../errors.ts';
import { EXPIRY_LEEWAY_MS } from './claims.ts';
import { createIssuerKeys, type IssuerKeys } from './jwks.ts';
import type { Subject } from './subject.ts';

/** Holds subject tokens to their issuers' keys, and to what a route wants of their claims. */
export interface SubjectCheck {
  /**
   * Fetches the keys that a route needs, unless they are there.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, or ERR_CREDENTIAL_UNAVAILABLE where its CA cannot be read
   */
  prepare(rules: SubjectVerification): Promise<void>;
  /**
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, or as `prepare` where the keys cannot be had
   * @see RFC 7519 section 7.2, RFC 8725
   */
  check(subject: Subject, rules: SubjectVerification): Promise<void>;
}

/** @param dispatcher gives the connection pool for the keys */
export function createSubjectCheck(
  dispatcher: (rules: SubjectVerification) => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
): SubjectCheck {
  const keysOf = new Map<string, IssuerKeys>();

  function keysFor(rules: SubjectVerification): IssuerKeys {
    const name = keySourceOf(rules);
    const known = keysOf.get(name) ?? createIssuerKeys(rules, () => dispatcher(rules), clock);
    keysOf.set(name, known);
    return known;
  }

  async function check(subject: Subject, rules: SubjectVerification): Promise<void> {
    const options = {
      issuer: rules.issuer,
      ...(rules.audience !== 'any' && { audience: [...rules.audience] }),
      algorithms: [...ASYMMETRIC_ALGORITHMS],
      requiredClaims: ['exp'],
      clockTolerance: EXPIRY_LEEWAY_MS / 1000,
      currentDate: new Date(clock.wallMs()),
    };
    const token = subject.token.reveal();
    const { find } = keysFor(rules);
    try {
      await jwtVerify(token, find, options).catch(async (error: unknown) => {
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
  }

  return { prepare: (rules) => keysFor(rules).prepare(), check };
}

/** A name for the keys that a token is verified by: rules that differ elsewhere alone share them. */
export function keySourceOf({ issuer, jwksUri, ca, allowInsecureHttp }: SubjectVerification): string {
  return JSON.stringify([issuer, jwksUri, ca, allowInsecureHttp]);
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
