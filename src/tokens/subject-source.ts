import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { type CredentialSource, readCredential, unavailable } from '../secrets/credential.ts';
import type { Revocations } from './revocations.ts';
import { checkExpiry, type Subject, type SubjectReader, toSubject } from './subject.ts';
import type { SubjectVerifier } from './subject-verifier.ts';
import { EXPIRY_LEEWAY_MS, isB64Token } from './token-text.ts';

/**
 * Finds the subject token of a request on a route, and checks it against the route. Synchronous when the token is the caller's and
 * known to be valid.
 * @param values every line of the route's subject header
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, ERR_CREDENTIAL_UNAVAILABLE, ERR_STS_UNAVAILABLE
 */
export type SubjectSource = (
  route: Route,
  connection: object,
  values: readonly string[],
  request?: CallerNotes,
) => Subject | undefined | Promise<Subject>;

/** Learns of the caller whose token may be refused for a revocation. */
interface CallerNotes {
  callerRead(subject: Subject): void;
}

export interface SubjectSourceOptions {
  readonly reader: SubjectReader;
  readonly verifier: SubjectVerifier;
  readonly clock: Clock;
  readonly credentialRead: TokenObserver['credentialRead'];
  /** Exists with `signals` in the config. */
  readonly revocations?: Revocations | undefined;
}

export function createSubjectSource(options: SubjectSourceOptions): SubjectSource {
  const { reader, verifier, clock, credentialRead, revocations } = options;
  /** Each source has a subject. Unchanged content stays the same subject, so its lookups are as fast as those of a caller's token. */
  const ownSubjects = new Map<string, Subject>();

  async function readOwn(route: Route, source: CredentialSource): Promise<Subject> {
    const name = `subject token of route "${route.name}"`;
    const subject = await readOwnSubject(source, name, ownSubjects);
    if (subject.expiresAtMs !== undefined) {
      credentialRead(name, subject.expiresAtMs / 1000);
      if (subject.expiresAtMs + EXPIRY_LEEWAY_MS <= clock.wallMs()) {
        throw unavailable(`${name}: it is expired: check the process that renews it`);
      }
    }
    const { verify } = route.subjectToken;
    if (verify !== undefined) await asOurFault(name, async () => verifier.verify(subject, verify));
    return subject;
  }

  /** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID */
  function checkRevocation(subject: Subject, request: CallerNotes | undefined): void {
    if (revocations === undefined) return;
    request?.callerRead(subject);
    revocations.check(subject);
  }

  return (route, connection, values, request) => {
    const { header, own, verify } = route.subjectToken;
    if (own !== undefined) return readOwn(route, own);
    const subject = reader(connection, header, values);
    if (subject === undefined) return undefined;
    checkExpiry(subject, clock);
    const verifying = verify && verifier.verify(subject, verify, () => addressOf(connection));
    if (verifying === undefined) {
      // A remembered introspection may state an expiry that the token itself does not.
      if (verify !== undefined) checkExpiry(subject, clock);
      checkRevocation(subject, request);
      return subject;
    }
    return verifying.then(() => {
      checkRevocation(subject, request);
      return subject;
    });
  };
}

/** A connection is a socket, or stands for one in a test. */
function addressOf(connection: object): string | undefined {
  const { remoteAddress } = connection as { readonly remoteAddress?: string };
  return remoteAddress;
}

async function readOwnSubject(source: CredentialSource, name: string, known: Map<string, Subject>): Promise<Subject> {
  const text = (await readCredential(source, name)).reveal().trim();
  const place = JSON.stringify(source);
  const previous = known.get(place);
  if (previous?.token.reveal() === text) return previous;
  if (!isB64Token(text)) throw unavailable(`${name}: the file contains no token: check the path`);
  const subject = await asOurFault(name, async () => toSubject(text));
  known.set(place, subject);
  return subject;
}

/** The caller cannot replace cambist's own token, so a problem with it gets another code. */
async function asOurFault<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID') {
      throw unavailable(`${name}: ${error.message}`);
    }
    throw error;
  }
}
