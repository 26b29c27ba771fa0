import type { Clock } from '../clock/clock.ts';
import type { Names } from './revocation-names.ts';

/** A revocation in force, as replicas tell it to each other. It names no user. */
export interface RevocationEntry {
  /** Digest of the issuer with a subject, a session, or both. Empty: all tokens of the issuer. */
  readonly key: string;
  readonly issuer: string;
  /** Epoch milliseconds. Tokens that were issued up to then are revoked. */
  readonly atMs: number;
}

/** Revocations by key, bounded. Only those that are in force count. */
export interface RevocationList {
  /** @returns whether it changed something: not if it is known, or too old */
  add(entry: RevocationEntry): boolean;
  /** A date in the future would refuse tokens that do not exist yet, so it counts as one minute ahead at most. */
  dated(atMs: number): number;
  /** Is a token with these names revoked? */
  covers(names: readonly Names[]): boolean;
  /** The oldest addition first. */
  all(): RevocationEntry[];
  /** Drops revocations whose time has passed. */
  sweep(): void;
  readonly size: number;
  /** Issuers whose older tokens are all refused. */
  readonly fullIssuers: number;
}

export interface RevocationListOptions {
  readonly clock: Clock;
  readonly rememberMs: number;
  readonly max: number;
  /** Called when older tokens of an issuer are all refused, because the list is full. */
  readonly onFull: (entry: RevocationEntry) => void;
}

/** An issuer's clock may be ahead of the clock here. */
const MAX_AHEAD_MS = 60_000;

/** How long older tokens are refused. */
interface Term {
  readonly atMs: number;
  /** Monotonic milliseconds. A wall clock that is set forward by mistake must not end a revocation. */
  readonly untilMs: number;
}

interface Entry extends Term {
  readonly issuer: string;
}

export function createRevocationList({ clock, rememberMs, max, onFull }: RevocationListOptions): RevocationList {
  /** The oldest addition first. */
  const entries = new Map<string, Entry>();
  /** By issuer: older tokens are all refused. One entry for each configured issuer at most. */
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

  function sweep(): void {
    for (const [key, entry] of entries) if (isOver(entry)) entries.delete(key);
    for (const [issuer, floor] of floors) if (isOver(floor)) floors.delete(issuer);
  }

  return {
    add({ key, issuer, atMs: toldMs }) {
      const atMs = dated(toldMs);
      const lifetimeMs = leftMs(atMs);
      if (lifetimeMs <= 0) return false;
      const entry = { issuer, atMs, untilMs: clock.monotonicMs() + lifetimeMs };
      return key === '' ? raiseFloor(issuer, entry) : addEntry(key, entry);
    },
    dated,
    covers: (names) =>
      names.some(({ issuer, keys, issuedAtMs }) => {
        const floor = floors.get(issuer);
        if (floor !== undefined && issuedAtMs <= floor.atMs) return true;
        return keys.some((key) => {
          const entry = entries.get(key);
          return entry !== undefined && issuedAtMs <= entry.atMs && !isOver(entry);
        });
      }),
    all() {
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
    get fullIssuers() {
      return floors.size;
    },
  };
}
