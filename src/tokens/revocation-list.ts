import type { Clock } from '../clock/clock.ts';
import type { Subject } from './subject.ts';
import { type Claims, jsonDigest, readClaims } from './token-text.ts';

/** The end of what an issuer's subject, or one session of it, may do with the tokens that it has. */
export interface Revocation {
  readonly issuer: string;
  /** `sub`, or `email` in lower case. Undefined where only the session is known. */
  readonly subject: { readonly claim: 'sub' | 'email'; readonly value: string } | undefined;
  /** `sid`. Undefined: all sessions of the subject. */
  readonly session: string | undefined;
  /** Epoch milliseconds. Tokens that were issued up to then are revoked. */
  readonly atMs: number;
}

/** The keys under which a token may be revoked, by one set of its claims. */
interface Names {
  readonly issuer: string;
  readonly keys: readonly string[];
  /** Epoch milliseconds. A token without `iat` counts as older than every revocation. */
  readonly issuedAtMs: number;
}

/** Everything that a token is called. */
export interface Identity {
  /** The claims of the introspection that it was made of. */
  readonly introspected: Claims;
  /** A token is named by its own claims, and by those of its introspection. One without claims has no names. */
  readonly names: readonly Names[];
}

/** A revocation may name the token as it names itself, or as its introspection does. */
export function toIdentity({ introspected, token }: Pick<Subject, 'introspected' | 'token'>): Identity {
  const own = readClaims(token.reveal());
  const sets: Claims[] = introspected === undefined ? [own] : [own, { ...own, ...introspected }];
  return { introspected, names: sets.flatMap(namesOf) };
}

function namesOf(claims: Claims): Names[] {
  const { iss, sub, sid, iat, email } = claims ?? {};
  if (typeof iss !== 'string') return [];
  const users: [string, string][] = [];
  if (typeof sub === 'string') users.push(['sub', sub]);
  if (typeof email === 'string') users.push(['email', email.toLowerCase()]);
  const keys = users.map(([claim, value]) => jsonDigest([iss, claim, value]));
  if (typeof sid === 'string') keys.push(jsonDigest([iss, 'sid', sid]));
  // The session of this token is unknown, so it ends with each of them.
  else keys.push(...users.map(([claim, value]) => jsonDigest([iss, claim, value, 'any session'])));
  const issuedAtMs = typeof iat === 'number' && Number.isFinite(iat) ? iat * 1000 : Number.NEGATIVE_INFINITY;
  return [{ issuer: iss, keys, issuedAtMs }];
}

/** The keys of the tokens that a revocation ends. */
export function keysOfRevocation({ issuer, subject, session }: Revocation): readonly string[] {
  const user = subject === undefined ? [] : [subject.claim, subject.value];
  if (session === undefined) return subject === undefined ? [] : [jsonDigest([issuer, ...user])];
  const ofSession = jsonDigest([issuer, 'sid', session]);
  return subject === undefined ? [ofSession] : [ofSession, jsonDigest([issuer, ...user, 'any session'])];
}

/** A revocation in force, as replicas tell it to each other. It names no user. */
export interface RevocationEntry {
  /** Digest of the issuer with a subject, a session, or both. Empty: all tokens of the issuer. */
  readonly key: string;
  readonly issuer: string;
  /** Epoch milliseconds. Tokens that were issued up to then are revoked. */
  readonly atMs: number;
}

interface RevocationListOptions {
  readonly clock: Clock;
  readonly rememberMs: number;
  readonly max: number;
  /** Called when older tokens of an issuer are all refused, because the list is full. */
  readonly onFull: (entry: RevocationEntry) => void;
}

/** An issuer's clock may be ahead of the clock here. */
const MAX_AHEAD_MS = 60_000;

/** Older tokens are refused for this time. */
interface Term {
  readonly atMs: number;
  /** Monotonic milliseconds. A wall clock that is set forward by mistake must not end a revocation. */
  readonly untilMs: number;
}

interface Entry extends Term {
  readonly issuer: string;
}

/** Revocations by key, bounded. Only those that are in force count. */
export function createRevocationList({ clock, rememberMs, max, onFull }: RevocationListOptions) {
  /** The oldest addition first. */
  const entries = new Map<string, Entry>();
  /** Older tokens of these issuers are all refused. Each configured issuer has one entry at most. */
  const floors = new Map<string, Term>();

  const dated = (atMs: number): number => Math.min(atMs, clock.wallMs() + MAX_AHEAD_MS);
  const leftMs = (atMs: number): number => atMs + rememberMs - clock.wallMs();
  const isOver = ({ atMs, untilMs }: Term): boolean => leftMs(atMs) <= 0 && untilMs <= clock.monotonicMs();

  function addEntry(key: string, entry: Entry): boolean {
    const before = entries.get(key);
    if (before !== undefined && before.atMs >= entry.atMs) return false;
    entries.delete(key);
    if (entries.size >= max) makeRoom();
    entries.set(key, entry);
    return true;
  }

  /** Forgetting a revocation would admit its tokens again, so all older tokens of its issuer are refused in its place. */
  function makeRoom(): void {
    sweep();
    if (entries.size < max) return;
    const issuer = largestIssuer();
    const own = [...entries].filter(([, entry]) => entry.issuer === issuer);
    for (const [key, entry] of own.slice(0, Math.ceil(own.length / 2))) {
      entries.delete(key);
      raiseFloor(issuer, entry);
    }
    onFull({ key: '', issuer, atMs: floors.get(issuer)?.atMs as number });
  }

  /** The issuer with the most revocations makes room, so that it cannot sign out the users of another one. */
  function largestIssuer(): string {
    const counts = new Map<string, number>();
    for (const { issuer } of entries.values()) counts.set(issuer, (counts.get(issuer) ?? 0) + 1);
    return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
  }

  function raiseFloor(issuer: string, { atMs, untilMs }: Term): boolean {
    if ((floors.get(issuer)?.atMs ?? Number.NEGATIVE_INFINITY) >= atMs) return false;
    floors.set(issuer, { atMs, untilMs });
    return true;
  }

  /** Drops revocations whose time has passed. */
  function sweep(): void {
    for (const [key, entry] of entries) if (isOver(entry)) entries.delete(key);
    for (const [issuer, floor] of floors) if (isOver(floor)) floors.delete(issuer);
  }

  return {
    /** @returns whether it changed something: not if it is known, or too old */
    add({ key, issuer, atMs: toldMs }: RevocationEntry): boolean {
      const atMs = dated(toldMs);
      const lifetimeMs = leftMs(atMs);
      if (lifetimeMs <= 0) return false;
      const entry = { issuer, atMs, untilMs: clock.monotonicMs() + lifetimeMs };
      return key === '' ? raiseFloor(issuer, entry) : addEntry(key, entry);
    },
    /** A date in the future would refuse tokens that do not exist yet, so it counts as one minute ahead at most. */
    dated,
    /** Is a token with these names revoked? */
    covers: (names: readonly Names[]): boolean =>
      names.some(({ issuer, keys, issuedAtMs }) => {
        const floor = floors.get(issuer);
        if (floor !== undefined && issuedAtMs <= floor.atMs) return true;
        return keys.some((key) => {
          const entry = entries.get(key);
          return entry !== undefined && issuedAtMs <= entry.atMs && !isOver(entry);
        });
      }),
    /** The oldest addition first. */
    all(): RevocationEntry[] {
      const list: RevocationEntry[] = [];
      for (const [issuer, floor] of floors) if (!isOver(floor)) list.push({ key: '', issuer, atMs: floor.atMs });
      for (const [key, entry] of entries) {
        if (!isOver(entry)) list.push({ key, issuer: entry.issuer, atMs: entry.atMs });
      }
      return list;
    },
    sweep,
    get size() {
      return entries.size;
    },
    /** Issuers whose older tokens are all refused. */
    get fullIssuers() {
      return floors.size;
    },
  };
}
