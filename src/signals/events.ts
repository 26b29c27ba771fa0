import type { JWTPayload } from 'jose';
import type { Revocation } from '../tokens/revocation-list.ts';
import { isJsonObject } from '../tokens/token-text.ts';
import { readSubjectId } from './subject-id.ts';

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
  if (!eventEntries(events).some(([type]) => type === LOGOUT_EVENT)) throw invalid('it has no logout event');
  if (nonce !== undefined) throw invalid('it has a nonce, so it may be an ID token');
  const subject = sub === undefined ? undefined : ({ claim: 'sub', value: nameOf(sub, 'sub') } as const);
  const session = sid === undefined ? undefined : nameOf(sid, 'sid');
  if (subject === undefined && session === undefined) throw invalid('it has neither sub nor sid');
  const atMs = instantOf(iat) ?? 0;
  return { events: ['backchannel-logout'], revocations: [{ issuer, subject, session, atMs }] };
}

function eventEntries(events: unknown): [type: string, event: Record<string, unknown>][] {
  if (!isJsonObject(events)) throw invalid('it has no events');
  const entries = Object.entries(events);
  if (entries.length === 0 || entries.length > MAX_EVENTS_OF_TOKEN) throw invalid('it has no event, or too many');
  return entries.map(([type, event]) => {
    if (!isJsonObject(event)) throw invalid('an event is not an object');
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
  if (typeof value === 'string' && value !== '' && value.length <= 1024) return value;
  throw invalid(`its ${claim} is malformed`);
}

function invalid(why: string): InvalidSignal {
  return new InvalidSignal('invalid_request', why);
}
