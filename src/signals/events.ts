import { errors, type JWTPayload } from 'jose';
import type { Clock } from '../clock/clock.ts';
import { ASYMMETRIC_ALGORITHMS } from '../config/algorithms.ts';
import type { Transmitter } from '../config/signals.ts';
import { CambistError } from '../errors.ts';
import type { IssuerKeys } from '../tokens/jwks.ts';
import type { Revocation } from '../tokens/revocation-list.ts';
import { reasonOf, verifyJwt } from '../tokens/subject-check.ts';
import { isJsonObject } from '../tokens/token-text.ts';

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/';
const RISC = 'https://schemas.openid.net/secevent/risc/event-type/';

/** Events after which older tokens of their subject are no longer valid. Others are accepted and change nothing. */
export const REVOKING_EVENTS: ReadonlySet<string> = new Set([
  `${CAEP}session-revoked`,
  `${CAEP}credential-change`,
  `${CAEP}token-claims-change`,
  `${CAEP}assurance-level-change`,
  `${RISC}account-disabled`,
  `${RISC}account-purged`,
  `${RISC}sessions-revoked`,
]);

/** Proves that events arrive. cambist accepts it, and never requests it. */
export const VERIFICATION_EVENT = 'https://schemas.openid.net/secevent/ssf/event-type/verification';

export const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout';

/** Most events in one token. RFC 8417 section 2.2 intends one, with extensions. */
const MAX_EVENTS_OF_TOKEN = 16;

/** A malformed token, for the transmitter. The text contains nothing of the token. */
export class InvalidSignal extends Error {
  /** RFC 8935 section 2.4. */
  readonly err: string;

  constructor(err: string, description: string) {
    super(description);
    this.err = err;
  }
}

/** A verified token of a transmitter, by its effect. */
export interface Signal {
  /** Short names of its known events. */
  readonly events: readonly string[];
  readonly revocations: readonly Revocation[];
}

/**
 * Reads the events of a verified security event token.
 * @throws {InvalidSignal}
 * @see RFC 8417 section 2.2, OpenID CAEP 1.0, OpenID RISC 1.0
 */
export function readEvents(claims: JWTPayload, issuer: string): Signal {
  const { events, sub_id: subjectId, toe } = claims;
  const entries = eventEntries(events);
  const revocations: Revocation[] = [];
  for (const [type, event] of entries) {
    if (!REVOKING_EVENTS.has(type)) continue;
    const atMs = instantOf(event.event_timestamp) ?? instantOf(toe) ?? instantOf(claims.iat) ?? 0;
    // Drafts of Shared Signals have the subject in the event.
    const subjects = readSubjectId(subjectId ?? event.subject, issuer);
    const ends =
      type === `${RISC}sessions-revoked` ? subjects.map((each) => ({ ...each, session: undefined })) : subjects;
    for (const { subject, session } of ends) revocations.push({ issuer, subject, session, atMs });
  }
  return {
    events: entries.filter(([type]) => isKnown(type)).map(([type]) => type.slice(type.lastIndexOf('/') + 1)),
    revocations,
  };
}

/**
 * Reads a verified logout token.
 * @throws {InvalidSignal}
 * @see OpenID Connect Back-Channel Logout 1.0 section 2.6
 */
export function readLogout(claims: JWTPayload, issuer: string): Signal {
  const { events, nonce, sub, sid, iat } = claims;
  if (!eventEntries(events).some(([type]) => type === LOGOUT_EVENT)) throw malformed('it has no logout event');
  if (nonce !== undefined) throw malformed('it has a nonce, so it may be an ID token');
  const subject = sub === undefined ? undefined : ({ claim: 'sub', value: nameOf(sub, 'sub') } as const);
  const session = sid === undefined ? undefined : nameOf(sid, 'sid');
  if (subject === undefined && session === undefined) throw malformed('it has neither sub nor sid');
  const atMs = instantOf(iat) ?? 0;
  return { events: ['backchannel-logout'], revocations: [{ issuer, subject, session, atMs }] };
}

function eventEntries(events: unknown): [type: string, event: Record<string, unknown>][] {
  if (!isJsonObject(events)) throw malformed('it has no events');
  const entries = Object.entries(events);
  if (entries.length === 0 || entries.length > MAX_EVENTS_OF_TOKEN) throw malformed('it has no event, or too many');
  return entries.map(([type, event]) => {
    if (!isJsonObject(event)) throw malformed('an event is not an object');
    return [type, event];
  });
}

function isKnown(type: string): boolean {
  return REVOKING_EVENTS.has(type) || type === VERIFICATION_EVENT;
}

/** Drafts of CAEP count in milliseconds. The limit is the year 5138 in seconds. */
const MAX_SECONDS = 1e11;

function instantOf(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isFinite(value)) return undefined;
  return Math.abs(value) > MAX_SECONDS ? value : value * 1000;
}

function nameOf(value: unknown, claim: string): string {
  if (isName(value)) return value;
  throw malformed(`its ${claim} is malformed`);
}

export function malformed(why: string): InvalidSignal {
  return new InvalidSignal('invalid_request', why);
}

/** The part of an event's subject that tokens have. */
type EventSubject = Pick<Revocation, 'subject' | 'session'>;

/** Keycloak's id of all sessions of a user. */
const ALL_SESSIONS = 'ALL';
/** Most alternatives of one subject. */
const MAX_ALIASES = 16;
/** Alternatives of a complex subject, whose user has alternatives. */
const MAX_DEPTH = 4;

/**
 * Reads a subject identifier (RFC 9493, and the complex subjects of Shared Signals).
 * @param issuer of the transmitter, which speaks for its own subjects alone
 * @param depth how many more levels are read
 * @returns one entry for each name of the subject; empty where no token can say that it is meant
 */
export function readSubjectId(written: unknown, issuer: string, depth = MAX_DEPTH): EventSubject[] {
  if (!isJsonObject(written) || depth === 0) return [];
  switch (written.format) {
    case 'aliases':
      return (Array.isArray(written.identifiers) ? written.identifiers.slice(0, MAX_ALIASES) : [])
        .filter((each) => isJsonObject(each) && each.format !== 'aliases')
        .flatMap((each) => readSubjectId(each, issuer, depth - 1));
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
    ? readSubjectId({ format: guessed(written.user), ...written.user }, issuer, depth - 1)
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

/** No accepted token has a longer identifier. */
const MAX_LENGTH = 1024;

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_LENGTH;
}

export type SignalKind = 'event' | 'logout';

/** An event that is dated further ahead is not of this transmitter's present. */
const MAX_AHEAD_SECONDS = 300;

/**
 * Verifies a security event token or a logout token, and reads it.
 * @throws {InvalidSignal} with nothing of the token in its text
 * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID where the keys are unavailable
 * @see RFC 8417 section 2, OpenID Connect Back-Channel Logout 1.0 section 2.6
 */
export async function verifySignal(
  token: string,
  kind: SignalKind,
  { issuer, audience }: Transmitter,
  keys: IssuerKeys,
  clock: Clock,
): Promise<Signal> {
  const options = {
    issuer,
    audience: [...audience],
    algorithms: [...ASYMMETRIC_ALGORITHMS],
    // A logout token must expire, so that it cannot be replayed for long. Events have no expiry.
    requiredClaims: kind === 'logout' ? ['iat', 'jti', 'exp'] : ['iat', 'jti'],
    clockTolerance: 5,
    currentDate: new Date(clock.wallMs()),
  };
  let claims: JWTPayload;
  try {
    const { payload, protectedHeader } = await verifyJwt(token, keys.find, options);
    checkType(protectedHeader.typ, kind);
    claims = payload;
  } catch (error) {
    if (error instanceof CambistError || error instanceof InvalidSignal) throw error;
    throw new InvalidSignal(errOf(error), reasonOf(error));
  }
  const { iat, jti } = claims;
  if (typeof jti !== 'string' || typeof iat !== 'number') throw malformed('its jti or iat is malformed');
  if (iat > clock.wallMs() / 1000 + MAX_AHEAD_SECONDS) throw malformed('its iat is in the future');
  return kind === 'logout' ? readLogout(claims, issuer) : readEvents(claims, issuer);
}

/** No token of another kind passes for a signal. Older servers give logout tokens no type of their own. */
function checkType(typ: unknown, kind: SignalKind): void {
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : '';
  const accepted = kind === 'event' ? ['secevent+jwt'] : ['logout+jwt', 'jwt', ''];
  if (!accepted.includes(type)) throw malformed('its typ is not that of such a token');
}

/** @see RFC 8935 section 2.4 */
function errOf(error: unknown): string {
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return 'invalid_issuer';
    if (error.claim === 'aud') return 'invalid_audience';
  }
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed)
    return 'invalid_key';
  return 'invalid_request';
}
