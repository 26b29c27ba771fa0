import { errors, type JWTVerifyGetKey, type JWTVerifyResult, jwtVerify } from 'jose';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import { ASYMMETRIC_ALGORITHMS } from '../config/algorithms.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { createIssuerKeys, type IssuerKeys } from './jwks.ts';
import type { Subject } from './subject.ts';
import { EXPIRY_LEEWAY_MS, isJsonObject, textOf } from './token-text.ts';

/** Verifies subject tokens: the signature by the issuer's keys, and the claims by the rules of a route. */
export type SubjectCheck = ReturnType<typeof createSubjectCheck>;

export function createSubjectCheck(
  dispatcher: (rules: SubjectVerification) => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
) {
  const keysOf = new Map<string, IssuerKeys>();

  function keysFor(rules: SubjectVerification): IssuerKeys {
    const name = keySourceOf(rules);
    const known = keysOf.get(name) ?? createIssuerKeys(rules, () => dispatcher(rules), clock);
    keysOf.set(name, known);
    return known;
  }

  /**
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, and the codes of `prepare`
   * @see RFC 7519 section 7.2, RFC 8725
   */
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
      if (isOtherKind(await verifyJwt(token, find, options))) throw new OtherKindError();
    } catch (error) {
      if (error instanceof CambistError) throw error;
      throw new CambistError(
        'ERR_SUBJECT_TOKEN_INVALID',
        `the subject token is not a valid token of issuer "${rules.issuer}" for ${JSON.stringify(rules.audience)}: ${reasonOf(error)}`,
        { expired: error instanceof errors.JWTExpired },
      );
    }
  }

  return { prepare: (rules: SubjectVerification) => keysFor(rules).prepare(), check };
}

/** Types of messages that an issuer signs for its clients, with the same keys. A client that receives one could use it as a token. */
const OTHER_KINDS: ReadonlySet<string> = new Set(['logout+jwt', 'secevent+jwt', 'token-introspection+jwt']);

/** The token is a message of its issuer, not a credential. */
class OtherKindError extends Error {}

/**
 * Access tokens have many types, or none, so only those of other messages are refused. A logout token always has events, and may lack
 * its type (OpenID Connect Back-Channel Logout 1.0 section 2.4). Its events are an object; a list is a claim of the issuer's own.
 * @see RFC 8725 section 3.12
 */
function isOtherKind({ protectedHeader, payload }: JWTVerifyResult): boolean {
  const type = textOf(protectedHeader.typ)
    .toLowerCase()
    .replace(/^application\//, '');
  return isJsonObject(payload.events) || OTHER_KINDS.has(type);
}

/** Identifies the keys of some rules, and the server that is asked. Rules that differ in other ways share their keys. */
export function keySourceOf(rules: SubjectVerification): string {
  const { issuer, jwksUri, ca, allowInsecureHttp, jwksToken, introspection } = rules;
  const asked = introspection && [introspection.authorizationServer.name, introspection.endpoint];
  return JSON.stringify([issuer, jwksUri, ca, allowInsecureHttp, jwksToken, asked]);
}

/** Verifies a JWT as jose's `jwtVerify`, also where several keys of the issuer match. */
export function verifyJwt(
  token: string,
  find: JWTVerifyGetKey,
  options: Parameters<typeof jwtVerify>[2],
): Promise<JWTVerifyResult> {
  return jwtVerify(token, find, options).catch((error: unknown) => {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    return verifyWithAny(token, error, options);
  });
}

/** Most keys that are tried for a token without a key id. Each costs a signature check, also for made-up tokens. */
const MAX_TRIED_KEYS = 16;

/** Tries each key of the issuer that matches a token without a key id. */
async function verifyWithAny(
  token: string,
  candidates: InstanceType<typeof errors.JWKSMultipleMatchingKeys>,
  options: Parameters<typeof jwtVerify>[2],
): Promise<JWTVerifyResult> {
  let failure: unknown = candidates;
  let tried = 0;
  for await (const key of candidates) {
    tried += 1;
    try {
      return await jwtVerify(token, key, options);
    } catch (error) {
      failure = error;
      if (tried === MAX_TRIED_KEYS || !(error instanceof errors.JWSSignatureVerificationFailed)) break;
    }
  }
  throw failure;
}

/** The reason where the issuer has no key with the id and the algorithm of the token. */
export const NO_MATCHING_KEY = 'no key of the issuer matches';

/** The library's own messages may quote the token. */
export function reasonOf(error: unknown): string {
  if (error instanceof OtherKindError)
    return 'its "typ" or "events" show that it is another message, such as a logout token';
  if (error instanceof errors.JWTExpired) return 'it is expired';
  if (error instanceof errors.JWTClaimValidationFailed) return `its "${claimName(error.claim)}" does not match`;
  if (error instanceof errors.JOSEAlgNotAllowed) return 'its algorithm is not allowed';
  if (error instanceof errors.JWKSNoMatchingKey) return NO_MATCHING_KEY;
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong';
  return 'it is not a readable signed JWT';
}

function claimName(claim: string): string {
  return ['iss', 'aud', 'exp', 'nbf', 'iat'].includes(claim) ? claim : 'claims';
}
