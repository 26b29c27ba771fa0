import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { containsToken } from '../proxy/caller-tokens.ts';
import { headerValues } from '../proxy/headers.ts';
import type { Routed } from '../proxy/steps.ts';
import type { SharedHandles } from '../shared-cache/shared-handles.ts';
import { type Subject, toSubject } from '../tokens/subject.ts';
import type { SubjectSourceOptions } from '../tokens/subject-source.ts';
import type { SubjectVerifier } from '../tokens/subject-verifier.ts';
import { handlesIn, handleText } from './handle-text.ts';
import type { Handle, Handles } from './handles.ts';

export interface VerifyCallerOptions extends Omit<SubjectSourceOptions, 'credentialRead'> {
  readonly rules: () => SubjectVerification;
  readonly handles: Pick<Handles, 'drop'>;
}

/**
 * Verifies the token of a caller. Synchronous for a token that was verified recently.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING, ERR_SUBJECT_TOKEN_INVALID, ERR_REVOCATIONS_UNKNOWN, ERR_STS_UNAVAILABLE
 */
export function verifyCaller(
  { request, path }: Routed,
  { reader, verifier, clock, rules, revocations, handles }: VerifyCallerOptions,
): Subject | Promise<Subject> {
  const { socket, rawHeaders } = request.incoming;
  const subject = reader(socket, 'authorization', headerValues(rawHeaders, 'authorization'));
  if (subject === undefined) {
    throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', 'inbound: the request has no Authorization header');
  }
  if (containsToken(path, [subject.token.reveal()])) {
    throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', "inbound: the URL repeats the caller's token: send it once");
  }
  if (handlesIn(path).length > 0) {
    throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'inbound: the URL has a handle: remove it');
  }
  // An introspection may refuse a token that it accepted before.
  const refused = (error: unknown): never => {
    if (error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID') handles.drop(subject);
    throw error;
  };
  const inForce = (): Subject => {
    request.record.callerRead(subject);
    revocations?.check(subject);
    return notExpired(subject, clock);
  };
  let verifying: undefined | Promise<void>;
  try {
    verifying = verifyInForce(verifier, subject, rules, () => socket.remoteAddress)?.catch(refused);
  } catch (error) {
    return refused(error);
  }
  return verifying === undefined ? inForce() : verifying.then(inForce);
}

/**
 * Verifies a token under the rules in force at the end. A reload may change them meanwhile, and a later use of the token's handle is
 * not verified again.
 */
function verifyInForce(
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

/** Refuses an expired token without leeway, which a handle would not have either. */
function notExpired(subject: Subject, clock: Clock): Subject {
  if ((subject.expiresAtMs ?? 0) > clock.wallMs()) return subject;
  throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'inbound: the token is expired', { expired: true });
}

/** Resolves a handle that another replica gave. @returns undefined for an unknown or expired one */
export type FindForeignHandle = (text: string, peer: () => string | undefined) => Promise<Handle | undefined>;

interface ForeignHandlesOptions extends Pick<VerifyCallerOptions, 'verifier' | 'rules' | 'clock'> {
  readonly shared: SharedHandles;
  readonly handles: Handles;
}

/** The token is verified here as well, because nothing from the shared cache is trusted. */
export function createForeignHandles(options: ForeignHandlesOptions): FindForeignHandle {
  const { shared, handles, verifier, rules, clock } = options;
  return async (text, peer) => {
    const found = await shared.find(text);
    if (found === undefined || handleText(found.digest) !== text) return undefined;
    try {
      const subject = toSubject(found.token.reveal());
      await verifyInForce(verifier, subject, rules, peer);
      return handles.adopt(text, notExpired(subject, clock));
    } catch (error) {
      if (error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID') return undefined;
      throw error;
    }
  };
}
