import type { Revocation } from '../tokens/revocation-list.ts';
import { isJsonObject } from '../tokens/token-text.ts';

/** The subject of an event, as far as tokens can say it. */
export interface EventSubject {
  readonly subject: Revocation['subject'];
  readonly session: string | undefined;
}

/** Longest identifier that is read. Longer ones are in no token that passes. */
const MAX_LENGTH = 1024;
/** Keycloak's id of all sessions of a user. */
const ALL_SESSIONS = 'ALL';
/** Most alternatives of one subject. */
const MAX_ALIASES = 16;
/** Alternatives of a complex subject, whose user has alternatives. */
const MAX_DEPTH = 4;

/**
 * Reads a subject identifier (RFC 9493, and the complex subjects of Shared Signals).
 * @param issuer of the transmitter, which speaks for its own subjects alone
 * @returns one entry for each name of the subject; empty where no token can say that it is meant
 */
export function readSubjectId(written: unknown, issuer: string): EventSubject[] {
  return readNested(written, issuer, MAX_DEPTH);
}

/** @param depth how many more levels are read */
function readNested(written: unknown, issuer: string, depth: number): EventSubject[] {
  if (!isJsonObject(written) || depth === 0) return [];
  switch (written.format) {
    case 'aliases':
      return listOf(written.identifiers)
        .filter((each) => isJsonObject(each) && each.format !== 'aliases')
        .flatMap((each) => readNested(each, issuer, depth - 1));
    case 'complex':
      return complexSubject(written, issuer, depth);
    // Keycloak and drafts of Shared Signals leave the format out.
    case undefined:
      return 'user' in written || 'session' in written
        ? complexSubject(written, issuer, depth)
        : simpleSubject(written, issuer);
    default:
      return simpleSubject(written, issuer);
  }
}

/** `user` and `session`. Other members narrow the subject to a device or a tenant, which no token says: the user counts. */
function complexSubject(written: Record<string, unknown>, issuer: string, depth: number): EventSubject[] {
  const users = isJsonObject(written.user)
    ? readNested({ format: guessed(written.user), ...written.user }, issuer, depth - 1)
    : [];
  const session = sessionOf(written.session);
  // A session that cannot be read may be any session of the user.
  if (session === undefined || session === ALL_SESSIONS) return users;
  return users.length === 0 ? [{ subject: undefined, session }] : users.map(({ subject }) => ({ subject, session }));
}

function simpleSubject(written: Record<string, unknown>, issuer: string): EventSubject[] {
  const { iss, sub, id, email } = written;
  switch (guessed(written)) {
    case 'iss_sub':
      return iss === issuer && isName(sub) ? [{ subject: { claim: 'sub', value: sub }, session: undefined }] : [];
    case 'opaque':
      return isName(id) ? [{ subject: { claim: 'sub', value: id }, session: undefined }] : [];
    case 'email':
      return isName(email) ? [{ subject: { claim: 'email', value: email.toLowerCase() }, session: undefined }] : [];
    default:
      return [];
  }
}

function guessed({ format, subject_type: older, iss, sub }: Record<string, unknown>): unknown {
  if (format !== undefined) return format;
  if (older !== undefined) return older === 'iss-sub' ? 'iss_sub' : older;
  return iss !== undefined && sub !== undefined ? 'iss_sub' : undefined;
}

/** A session is opaque, or a session of an issuer. */
function sessionOf(written: unknown): string | undefined {
  if (!isJsonObject(written)) return undefined;
  const id = written.id ?? written.sub ?? written.sid;
  return isName(id) ? id : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_LENGTH;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value.slice(0, MAX_ALIASES) : [];
}
