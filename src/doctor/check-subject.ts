import type { Route, SubjectVerification } from '../config/config.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import { readClaims } from '../tokens/claims.ts';
import type { Subject } from '../tokens/subject.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import type { CheckContext } from './check-context.ts';
import { failureOf } from './check-server.ts';
import { type Finding, fine, listed, problem, warning } from './finding.ts';
import type { UsableKey } from './key-set.ts';
import { subjectFinding } from './subject.ts';
import { verificationFindings } from './verification.ts';

/** A subject token for routes that take the caller's, and where it came from. */
export interface SubjectTokenInput {
  readonly source: string;
  readonly token: string;
}

/** By the name of their source; none where no token can be verified. */
export type KeysBySource = ReadonlyMap<string, readonly UsableKey[]>;

type Found = (finding: Finding) => void;

/**
 * Takes the subject token as a request on the route would bring it, and holds it to what the route wants of it.
 * @returns undefined where the route's token is for cambist itself
 */
export async function checkSubject(
  route: Route,
  given: SubjectTokenInput | undefined,
  keys: KeysBySource,
  context: CheckContext,
  found: Found,
): Promise<Subject | undefined | 'missing'> {
  const { credential, subjectToken } = route;
  if (credential.kind !== 'exchange') return undefined;
  if (subjectToken.file === undefined && given === undefined) {
    if (credential.onMissingSubject === 'client_credentials') return undefined;
    found(
      warning('subject_token_missing', 'no exchange was tried, since there is no subject token', {
        why: "whether the server accepts callers' tokens, and whom it issues tokens for, cannot be checked without one",
        fix: 'write a token of a caller into a file, and name it with --subject-token-file',
      }),
    );
    return 'missing';
  }
  const subject = await read(route, given, context, found);
  if (subject === undefined) return 'missing';
  const { verify } = subjectToken;
  return verify === undefined || (await isVerified(subject, verify, keys, context, found)) ? subject : 'missing';
}

async function read(
  route: Route,
  given: SubjectTokenInput | undefined,
  { subjects, clock }: CheckContext,
  found: Found,
): Promise<Subject | undefined> {
  const { subjectToken } = route;
  let subject: Subject | undefined;
  const values = given === undefined ? [] : [`Bearer ${given.token}`];
  // What `verify` says is a step of its own.
  const unverified = { ...route, subjectToken: { ...subjectToken, verify: undefined } };
  const failure = await failureOf(async () => {
    subject = await subjects(unverified, {}, values);
  });
  const source = subjectToken.file === undefined ? (given?.source ?? '') : sourceName(subjectToken.file);
  if (subject !== undefined) {
    found(subjectFinding(source, readClaims(subject.token.reveal()), clock.wallMs()));
    return subject;
  }
  // The program's own sentence for an expired token has no time in it.
  const claims = subjectToken.file === undefined && given !== undefined ? readClaims(given.token) : undefined;
  const seen = subjectFinding(source, claims, clock.wallMs());
  found(
    seen.severity === 'error'
      ? seen
      : problem('subject_token_unusable', `the subject token from ${source}: ${failure?.message ?? 'there is none'}`, {
          fix: "obtain one as the agent's user would, and see subject_token of the route",
        }),
  );
  return undefined;
}

function sourceName(source: CredentialSource): string {
  return 'file' in source ? source.file : `environment variable ${source.env}`;
}

async function isVerified(
  subject: Subject,
  rules: SubjectVerification,
  keysBySource: KeysBySource,
  { verifier }: CheckContext,
  found: Found,
): Promise<boolean> {
  const { issuer, audience } = rules;
  const keys = keysBySource.get(keySourceOf(rules));
  if (keys === undefined) {
    found(
      warning('route_not_checked', 'no exchange was tried', {
        why: `the keys of issuer "${issuer}", by which the subject token is verified, have to be there first`,
      }),
    );
    return false;
  }
  const failure = await failureOf(async () => verifier.verify(subject, rules));
  if (failure !== undefined) {
    const token = subject.token.reveal();
    const findings = verificationFindings({ rules, token, claims: readClaims(token), keys, verdict: failure.message });
    for (const finding of findings) found(finding);
    return false;
  }
  const whom = audience === 'any' ? '' : `, and for ${listed(audience)}`;
  found(fine('subject_token_verified', `it is signed by issuer "${issuer}"${whom}`));
  return true;
}
