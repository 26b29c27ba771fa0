import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { type Claims, readClaims } from './claims.ts';
import type { Subject } from './subject.ts';

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

/** A revocation in force, as replicas tell it to each other. It names no user. */
export interface RevocationEntry {
  /** Digest of the issuer with a subject, a session, or both. Empty: all tokens of the issuer. */
  readonly key: string;
  readonly issuer: string;
  /** Epoch milliseconds. Tokens that were issued up to then are revoked. */
  readonly atMs: number;
}

/** The revocations that are in force. */
export interface Revocations {
  /**
   * Adds a revocation. A replayed one, and one that is older than all tokens that matter, changes nothing.
   * @returns whether it changed something
   */
  revoke(revocation: Revocation): boolean;
  /** Is a subject's token revoked? Its claims may be unverified, because they only make cambist stricter. */
  isRevoked(subject: Subject): boolean;
  /**
   * Refuses a revoked token. A token that passed is checked again only after the next revocation.
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, ERR_REVOCATIONS_UNKNOWN
   */
  check(subject: Subject): void;
  /** Adds revocations that other replicas told. @returns how many of them changed something */
  restore(entries: Iterable<RevocationEntry>): number;
  /** Everything in force, the oldest addition first. */
  list(): RevocationEntry[];
  /** @param listener gets the digests of revoked tokens that were in use, soon after they were revoked */
  onRevoked(listener: (digests: ReadonlySet<string>) => void): void;
  /** Drops revocations whose time has passed. Called regularly. */
  sweep(): void;
  /** Revocations in force. */
  readonly size: number;
  /** Issuers whose older tokens are all refused, because the list was full. */
  readonly fullIssuers: number;
}

export interface RevocationsOptions {
  readonly clock: Clock;
  /** How long a revocation is kept, counted from the event. */
  readonly rememberMs: number;
  /** Most revocations. */
  readonly max?: number;
  /** Runs a function soon. Several revocations at once then cost one search. */
  readonly soon?: (run: () => void) => void;
  /** Called when the list is full, with the issuer whose older tokens are all refused from now on. */
  readonly onFull?: (issuer: string) => void;
  /** Called for each addition that no other replica told. */
  readonly onAdded?: (entry: RevocationEntry) => void;
  /** Has this replica read the revocations that the others keep? Until then, any token may be revoked. */
  readonly isComplete?: () => boolean;
}

/** About 200 bytes each. */
const MAX_REVOCATIONS = 100_000;
/** Tokens whose claims are remembered, so that their cached tokens can be dropped. */
const MAX_KNOWN_TOKENS = 20_000;
/** A search of all known tokens takes up to 15 ms. `check` is exact, so no request waits for a search. */
const SEARCH_INTERVAL_MS = 100;
/** An issuer's clock may be ahead of the clock here. */
const MAX_AHEAD_MS = 60_000;

interface Entry {
  readonly issuer: string;
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
interface Identity {
  /** The claims of the introspection that it was made of. */
  readonly introspected: Claims;
  /** By its own claims, and by those of its introspection. Empty for a token without claims. */
  readonly names: readonly Names[];
}

export function createRevocations(options: RevocationsOptions): Revocations {
  const { clock, rememberMs, max = MAX_REVOCATIONS } = options;
  const { soon = (run) => void setTimeout(run, SEARCH_INTERVAL_MS).unref() } = options;
  const { onFull = () => {}, onAdded = () => {}, isComplete = () => true } = options;
  /** The oldest addition first. */
  const entries = new Map<string, Entry>();
  /** By issuer: older tokens are all refused. One entry for each configured issuer at most. */
  const floors = new Map<string, number>();
  const known = new LRUCache<string, Identity>({ max: MAX_KNOWN_TOKENS });
  const identities = new WeakMap<Subject, Identity>();
  /** The epoch and the claims with which a token passed. */
  const passed = new WeakMap<Subject, { readonly epoch: number; readonly introspected: Claims }>();
  const listeners: ((digests: ReadonlySet<string>) => void)[] = [];
  let epoch = 0;
  let isSearching = false;

  const isOver = (atMs: number): boolean => atMs + rememberMs <= clock.wallMs();

  function identityOf(subject: Subject): Identity {
    let identity = identities.get(subject);
    // An introspection may have stated other claims since.
    if (identity === undefined || identity.introspected !== subject.introspected) {
      // Another route may have introspected the same token.
      const earlier = subject.introspected === undefined ? known.get(subject.digest) : undefined;
      identity = earlier ?? toIdentity(subject);
      identities.set(subject, identity);
      if (identity.names.length > 0) known.set(subject.digest, identity);
    }
    return identity;
  }

  function covers({ names }: Identity): boolean {
    return names.some(({ issuer, keys, issuedAtMs }) => {
      const floorMs = floors.get(issuer);
      if (floorMs !== undefined && issuedAtMs <= floorMs) return true;
      return keys.some((key) => {
        const entry = entries.get(key);
        return entry !== undefined && issuedAtMs <= entry.atMs && !isOver(entry.atMs);
      });
    });
  }

  function add(key: string, entry: Entry): boolean {
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
    for (const [key, { atMs }] of own.slice(0, Math.ceil(own.length / 2))) {
      entries.delete(key);
      raiseFloor(issuer, atMs);
    }
    onAdded({ key: '', issuer, atMs: floors.get(issuer) as number });
    onFull(issuer);
  }

  /** The issuer with the most revocations makes room, so that it cannot sign out the users of another one. */
  function largestIssuer(): string {
    const counts = new Map<string, number>();
    for (const { issuer } of entries.values()) counts.set(issuer, (counts.get(issuer) ?? 0) + 1);
    return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
  }

  function raiseFloor(issuer: string, atMs: number): boolean {
    if ((floors.get(issuer) ?? Number.NEGATIVE_INFINITY) >= atMs) return false;
    floors.set(issuer, atMs);
    return true;
  }

  /** A date in the future would refuse tokens that do not exist yet. */
  const datedBefore = (atMs: number): number => Math.min(atMs, clock.wallMs() + MAX_AHEAD_MS);

  function changed(): void {
    epoch += 1;
    searchSoon();
  }

  function restoreOne({ key, issuer, atMs: toldMs }: RevocationEntry): boolean {
    const atMs = datedBefore(toldMs);
    if (isOver(atMs)) return false;
    return key === '' ? raiseFloor(issuer, atMs) : add(key, { issuer, atMs });
  }

  function sweep(): void {
    for (const [key, { atMs }] of entries) if (isOver(atMs)) entries.delete(key);
    for (const [issuer, atMs] of floors) if (isOver(atMs)) floors.delete(issuer);
  }

  function searchSoon(): void {
    if (isSearching) return;
    isSearching = true;
    soon(() => {
      isSearching = false;
      const revoked = [...known].filter(([, identity]) => covers(identity)).map(([digest]) => digest);
      for (const digest of revoked) known.delete(digest);
      for (const listener of listeners) listener(new Set(revoked));
    });
  }

  function isRevoked(subject: Subject): boolean {
    return covers(identityOf(subject));
  }

  return {
    revoke({ issuer, subject, session, atMs }) {
      const entry = { issuer, atMs: datedBefore(atMs) };
      if (isOver(entry.atMs)) return false;
      const added = keysOfRevocation(issuer, subject, session).filter((key) => add(key, entry));
      if (added.length === 0) return false;
      for (const key of added) onAdded({ key, ...entry });
      changed();
      return true;
    },
    restore(told) {
      const count = [...told].filter(restoreOne).length;
      if (count > 0) changed();
      return count;
    },
    list() {
      const all = [...floors].map(([issuer, atMs]) => ({ key: '', issuer, atMs }));
      for (const [key, { issuer, atMs }] of entries) all.push({ key, issuer, atMs });
      return all.filter(({ atMs }) => !isOver(atMs));
    },
    isRevoked,
    check(subject) {
      const { introspected } = subject;
      const before = passed.get(subject);
      if (before?.epoch === epoch && before.introspected === introspected) return;
      if (isRevoked(subject)) {
        throw new CambistError(
          'ERR_SUBJECT_TOKEN_INVALID',
          'the subject token is revoked: its user or session was signed out',
        );
      }
      if (!isComplete()) {
        throw new CambistError(
          'ERR_REVOCATIONS_UNKNOWN',
          'the revocations that replicas keep were not read yet, so the subject token may be revoked: see cache.shared in /readyz',
        );
      }
      passed.set(subject, { epoch, introspected });
    },
    onRevoked: (listener) => void listeners.push(listener),
    sweep,
    get size() {
      return entries.size;
    },
    get fullIssuers() {
      return floors.size;
    },
  };
}

/** A revocation may name the token as it names itself, or as its introspection does. */
function toIdentity({ introspected, token }: Subject): Identity {
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
  const keys = users.map(([claim, value]) => digest([iss, claim, value]));
  if (typeof sid === 'string') keys.push(digest([iss, 'sid', sid]));
  // The session of this token is unknown, so it ends with each of them.
  else keys.push(...users.map(([claim, value]) => digest([iss, claim, value, 'any session'])));
  const issuedAtMs = typeof iat === 'number' && Number.isFinite(iat) ? iat * 1000 : Number.NEGATIVE_INFINITY;
  return [{ issuer: iss, keys, issuedAtMs }];
}

function keysOfRevocation(
  issuer: string,
  subject: Revocation['subject'],
  session: Revocation['session'],
): readonly string[] {
  const user = subject === undefined ? [] : [subject.claim, subject.value];
  if (session === undefined) return subject === undefined ? [] : [digest([issuer, ...user])];
  const ofSession = digest([issuer, 'sid', session]);
  return subject === undefined ? [ofSession] : [ofSession, digest([issuer, ...user, 'any session'])];
}

/** JSON is unambiguous, and a digest bounds the memory of long claims. */
function digest(parts: readonly string[]): string {
  return hash('sha256', JSON.stringify(parts), 'base64url');
}
