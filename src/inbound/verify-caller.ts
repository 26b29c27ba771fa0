import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { containsToken } from '../proxy/caller-tokens.ts';
import { headerValues } from '../proxy/headers.ts';
import type { Routed } from '../proxy/steps.ts';
import type { Revocations } from '../tokens/revocations.ts';
import type { Subject, SubjectReader } from '../tokens/subject.ts';
import type { SubjectVerifier } from '../tokens/subject-verifier.ts';
import { handlesIn } from './handle-text.ts';

export interface VerifyCallerOptions {
  readonly reader: SubjectReader;
  readonly verifier: SubjectVerifier;
  readonly clock: Clock;
  /** Returns `inbound.verify` of the active config. */
  readonly rules: () => SubjectVerification;
  /** Undefined without `signals`. */
  readonly revocations?: Revocations | undefined;
}

/**
 * Verifies the token of a caller. Synchronous for a token that was verified recently.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING, ERR_SUBJECT_TOKEN_INVALID, ERR_REVOCATIONS_UNKNOWN, ERR_STS_UNAVAILABLE
 */
export function verifyCaller(
  { request, path }: Routed,
  { reader, verifier, clock, rules, revocations }: VerifyCallerOptions,
): Subject | Promise<Subject> {
  const { socket, rawHeaders } = request.incoming;
  const subject = reader(socket, 'authorization', headerValues(rawHeaders, 'authorization'));
  if (subject === undefined) {
    throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', 'inbound: the request has no Authorization header');
  }
  if (containsToken(path, [subject.token.reveal()])) {
    throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', "inbound: the URL repeats the caller's token: send it once");
  }
  if (handlesIn(path).length > 0) throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'inbound: the URL has a handle');
  const verifying = verifyInForce(verifier, subject, rules, () => socket.remoteAddress);
  const inForce = (): Subject => {
    request.callerRead(subject);
    revocations?.check(subject);
    return notExpired(subject, clock);
  };
  return verifying === undefined ? inForce() : verifying.then(inForce);
}

/**
 * Verifies a token under the rules in force at the end. A reload may change them meanwhile, and a later use of the token's handle is
 * not verified again.
 */
export function verifyInForce(
  verifier: SubjectVerifier,
  subject: Subject,
  rules: () => SubjectVerification,
  peer: () => string | undefined,
): undefined | Promise<void> {
  const before = rules();
  return verifier
    .verify(subject, before, peer)
    ?.then(() => (rules() === before ? undefined : verifyInForce(verifier, subject, rules, peer)));
}

/** Without leeway, which a handle would not have either. */
export function notExpired(subject: Subject, clock: Clock): Subject {
  if ((subject.expiresAtMs ?? 0) > clock.wallMs()) return subject;
  throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'inbound: the token is expired', { expired: true });
}
