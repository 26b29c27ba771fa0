import type { JWTPayload } from 'jose';
import type { Route } from '../config/route.ts';
import type { SubjectVerification } from '../config/verification.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import type { Subject } from '../tokens/subject.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { readClaims } from '../tokens/token-text.ts';
import { type CheckContext, caught } from './check-context.ts';
import { type Finding, fine, listed, problem, shortAscii, showShortAscii, warning } from './finding.ts';
import { verificationFinding } from './verification-findings.ts';

export interface SubjectTokenInput {
  /** The place where it was read, as in `/tmp/token`. */
  readonly source: string;
  readonly token: string;
}

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
 * @returns no subject if the token is unusable
 */
export async function readRouteSubject(
  route: Route,
  input: SubjectTokenInput | undefined,
  { subjects, clock }: CheckContext,
): Promise<{ readonly subject?: Subject; readonly findings: readonly Finding[] }> {
  const { subjectToken } = route;
  const { own } = subjectToken;
  const values = input === undefined ? [] : [`Bearer ${input.token}`];
  const unverified = { ...route, subjectToken: { ...subjectToken, verify: undefined } };
  const { value: subject, failure } = await caught(async () => subjects(unverified, {}, values));
  const source = own === undefined ? (input?.source ?? '') : sourceName(own);
  // The proxy's own message does not say when the token expired.
  const claims = readClaims(subject?.token.reveal() ?? (own === undefined ? input?.token : undefined) ?? '');
  const seen = subjectFinding(source, claims, clock.wallMs());
  if (subject !== undefined)
    return { subject, findings: claims !== undefined && claims.sub === undefined ? [seen, WITHOUT_SUB] : [seen] };
  if (seen.severity === 'error') return { findings: [seen] };
  const what = `the subject token from ${source}: ${failure?.message ?? 'it is missing'}`;
  const fix = "obtain one the way the agent's user does, and check subject_token of the route";
  return { findings: [problem('subject_token_unusable', what, { fix })] };
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

/**
 * Verifies a subject token by the rules of a route.
 * @param verifiable the key sources whose tokens can be verified
 * @returns `ok` if the exchange can go on
 */
export async function verifySubject(
  subject: Subject,
  rules: SubjectVerification,
  verifiable: ReadonlySet<string>,
  { verifier }: CheckContext,
): Promise<Finding> {
  const { issuer, audience, introspection } = rules;
  if (!verifiable.has(keySourceOf(rules))) {
    const missing = introspection === undefined ? 'the keys' : 'keys or introspection';
    const why = `${missing} of issuer "${issuer}" are unavailable, so the subject token cannot be verified`;
    return warning('route_not_checked', 'no exchange was tried', { why });
  }
  const { failure } = await caught(async () => verifier.verify(subject, rules));
  if (failure === undefined) {
    const audiences = audience === 'any' ? '' : `, for ${listed(audience)}`;
    const how = introspection === undefined ? 'signed by' : 'active, of';
    return fine('subject_token_verified', `the subject token is ${how} issuer "${issuer}"${audiences}`);
  }
  if (introspection !== undefined) {
    const fix = 'obtain a new token, and compare its issuer and audience with subject_token.verify';
    return problem('introspection_refused', failure.message, { fix });
  }
  return verificationFinding({ rules, token: subject.token.reveal(), verdict: failure.message, show: showShortAscii });
}
