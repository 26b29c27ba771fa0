import type { JWTPayload } from 'jose';
import type { Route } from '../config/route.ts';
import type { SubjectVerification } from '../config/verification.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import type { Subject } from '../tokens/subject.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { readClaims } from '../tokens/token-text.ts';
import type { CheckContext } from './check-context.ts';
import { attempt } from './check-server.ts';
import { type Finding, type Found, fine, listed, problem, shortAscii, showShortAscii, warning } from './finding.ts';
import type { UsableKey } from './key-set.ts';
import { verificationFindings } from './verification-findings.ts';

export interface SubjectTokenInput {
  /** The place where it was read, as in `/tmp/token`. */
  readonly source: string;
  readonly token: string;
}

/** Usable keys by key source. A source is absent if its keys cannot verify any token. */
export type KeysBySource = ReadonlyMap<string, readonly UsableKey[]>;

/** Tells whether a route exchanges the token of its caller, not one from a file. */
export function usesCallerToken({ credential, subjectToken }: Route): boolean {
  return credential.kind === 'exchange' && subjectToken.own === undefined;
}

export function missingSubject(routes: readonly Route[]): Finding {
  const names = routes.map(({ name }) => name);
  return warning('subject_token_missing', `no exchange was tried for ${listed(names)}: no subject token was provided`, {
    why: "only a caller's token shows whether the server accepts such tokens, and which audience it issues",
    fix: "write a caller's token into a file, and name the file with --subject-token-file",
  });
}

/**
 * Reads the subject token of a route as its requests would bring it, without verifying it.
 * @param input ignored if the route reads its own token from a file
 * @returns undefined if the token is unusable
 */
export async function readRouteSubject(
  route: Route,
  input: SubjectTokenInput | undefined,
  { subjects, clock }: CheckContext,
  found: Found,
): Promise<Subject | undefined> {
  const { subjectToken } = route;
  const { own } = subjectToken;
  const values = input === undefined ? [] : [`Bearer ${input.token}`];
  const unverified = { ...route, subjectToken: { ...subjectToken, verify: undefined } };
  const { value: subject, failure } = await attempt(async () => subjects(unverified, {}, values));
  const source = own === undefined ? (input?.source ?? '') : sourceName(own);
  if (subject !== undefined) {
    const claims = readClaims(subject.token.reveal());
    found(subjectFinding(source, claims, clock.wallMs()));
    if (claims !== undefined && claims.sub === undefined) found(WITHOUT_SUB);
    return subject;
  }
  // The proxy's own message does not say when the token expired.
  const claims = own === undefined && input !== undefined ? readClaims(input.token) : undefined;
  const seen = subjectFinding(source, claims, clock.wallMs());
  found(
    seen.severity === 'error'
      ? seen
      : problem('subject_token_unusable', `the subject token from ${source}: ${failure?.message ?? 'it is missing'}`, {
          fix: "obtain one the way the agent's user does, and check subject_token of the route",
        }),
  );
  return undefined;
}

function subjectFinding(source: string, claims: JWTPayload | undefined, nowMs: number): Finding {
  if (claims === undefined) {
    return fine('subject_token_read', `the subject token from ${source} is opaque: its claims cannot be read`);
  }
  const { exp, aud, iss } = claims;
  const remaining = typeof exp === 'number' ? Math.round(exp - nowMs / 1000) : undefined;
  if (remaining !== undefined && remaining <= 0) {
    return problem('subject_token_expired', `the subject token from ${source} expired ${-remaining} s ago`, {
      fix: "obtain a new one from the authorization server, the way the agent's user does",
    });
  }
  const claimed = `iss ${shortAscii(JSON.stringify(iss ?? null))}, aud ${shortAscii(JSON.stringify(aud ?? null))}`;
  const lifetime = remaining === undefined ? '' : `, expires in ${remaining} s`;
  return fine('subject_token_read', `the subject token from ${source}: ${claimed}${lifetime}`);
}

const WITHOUT_SUB = warning('subject_token_without_sub', 'the subject token names no user: it has no "sub"', {
  why: 'revocations by user cannot find it, the audit trail has no subject, and many servers refuse to exchange it',
  fix: 'let the server add "sub" to access tokens (Keycloak 25 and later: the client scope basic)',
});

function sourceName(source: CredentialSource): string {
  if ('spiffe' in source) return 'the SPIFFE agent';
  return 'file' in source ? source.file : `environment variable ${source.env}`;
}

/** Verifies a subject token by the rules of a route. @returns whether the exchange can go on */
export async function verifySubject(
  subject: Subject,
  rules: SubjectVerification,
  keysBySource: KeysBySource,
  { verifier }: CheckContext,
  found: Found,
): Promise<boolean> {
  const { issuer, audience } = rules;
  const keys = keysBySource.get(keySourceOf(rules));
  if (keys === undefined) {
    const missing = rules.introspection === undefined ? 'the keys' : 'keys or introspection';
    const why = `${missing} of issuer "${issuer}" are unavailable, so the subject token cannot be verified`;
    found(warning('route_not_checked', 'no exchange was tried', { why }));
    return false;
  }
  const { failure } = await attempt(async () => verifier.verify(subject, rules));
  if (failure === undefined) {
    const audiences = audience === 'any' ? '' : `, for ${listed(audience)}`;
    const how = rules.introspection === undefined ? 'signed by' : 'active, of';
    found(fine('subject_token_verified', `the subject token is ${how} issuer "${issuer}"${audiences}`));
    return true;
  }
  const verdict = failure.message;
  if (rules.introspection !== undefined) {
    const fix = 'obtain a new token, and compare its issuer and audience with subject_token.verify';
    found(problem('introspection_refused', verdict, { fix }));
    return false;
  }
  const token = subject.token.reveal();
  const refused = { rules, token, claims: readClaims(token), keys, verdict, show: showShortAscii };
  verificationFindings(refused).forEach(found);
  return false;
}
