import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { createShares, type Shares } from '../tokens/shares.ts';
import type { Subject } from '../tokens/subject.ts';
import { handleText } from './handle-text.ts';

/** Stands for a caller's token. It is a secret as well: the agent can use it here while it lives. */
export interface Handle {
  readonly text: string;
  readonly subject: Subject;
  /** Requests in flight with this handle. */
  readonly holders: number;
}

/** The reason why a handle was removed. */
export type RemovalReason = (typeof REMOVAL_REASONS)[number];
export const REMOVAL_REASONS = ['expired', 'capacity'] as const;

/** The handles of this process. Bounded, and fair among callers. */
export interface Handles {
  /**
   * The handle of a token, which is not evicted before `release`. The same token has the same handle.
   * @param subject verified, and not expired
   * @param callerOf identifies the caller of a new handle. A caller with many tokens loses its own handles first
   * @throws {CambistError} ERR_OVERLOADED where every handle belongs to a request in flight
   */
  hold(subject: Subject, callerOf: (subject: Subject) => string): Handle;
  /** Called once for each `hold`, when its request is complete. */
  release(handle: Handle): void;
  /** The handle with a text, unless it is unknown or expired. Counts as a use. */
  find(text: string): Handle | undefined;
  /** Removes expired handles. Called regularly. */
  sweep(): void;
  readonly size: number;
  /** Changes the bound. The most recently used handles stay. */
  resize(maxEntries: number): void;
  /** Removes all handles. */
  clear(): void;
}

interface Entry extends Handle {
  readonly caller: string;
  /** Epoch milliseconds. */
  readonly expiresAtMs: number;
  /** Monotonic milliseconds, because the wall clock may be set back. */
  readonly expiresAtMonotonicMs: number;
  holders: number;
}

/** @param onRemoved called for each handle that is removed, except by `clear` */
export function createHandles(maxEntries: number, clock: Clock, onRemoved: (reason: RemovalReason) => void): Handles {
  /** Of this process alone, so that a handle is worthless anywhere else. */
  const key = randomBytes(32);
  /** The least recently used first. */
  const byText = new Map<string, Entry>();
  const byToken = new Map<string, Entry>();
  let max = maxEntries;
  /** Kept only at the bound. Below it nothing is evicted, and each use would cost a second list. */
  let shares: Shares | undefined;

  const isExpired = ({ expiresAtMs, expiresAtMonotonicMs }: Entry): boolean =>
    expiresAtMs <= clock.wallMs() || expiresAtMonotonicMs <= clock.monotonicMs();

  function create(subject: Subject, caller: string): Entry {
    while (byText.size >= max) if (!evictFor(caller)) throw full();
    const digest = createHmac('sha256', key).update(subject.token.reveal()).digest('base64url');
    const { expiresAtMs = 0 } = subject;
    const expiresAtMonotonicMs = clock.monotonicMs() + expiresAtMs - clock.wallMs();
    const entry = { text: handleText(digest), subject, expiresAtMs, expiresAtMonotonicMs, caller, holders: 0 };
    byText.set(entry.text, entry);
    byToken.set(subject.digest, entry);
    shares?.add(caller, entry.text);
    return entry;
  }

  /** Evicts the least recently used handle of the caller that exceeds its share, or else of any caller. */
  function evictFor(caller: string | undefined): boolean {
    shares ??= sharesOf();
    const greedy = byText.get(shares.firstToGiveWay(caller) ?? '')?.caller;
    const isFree = ({ holders }: Entry): boolean => holders === 0;
    const entry = find((each) => isFree(each) && each.caller === greedy) ?? find(isFree);
    if (entry === undefined) return false;
    remove(entry, isExpired(entry) ? 'expired' : 'capacity');
    return true;
  }

  function sharesOf(): Shares {
    const all = createShares(max);
    for (const { caller, text } of byText.values()) all.add(caller, text);
    return all;
  }

  function find(isWanted: (entry: Entry) => boolean): Entry | undefined {
    for (const entry of byText.values()) if (isWanted(entry)) return entry;
    return undefined;
  }

  function remove(entry: Entry, reason: RemovalReason): void {
    byText.delete(entry.text);
    byToken.delete(entry.subject.digest);
    shares?.remove(entry.caller, entry.text);
    onRemoved(reason);
  }

  function use(entry: Entry): void {
    byText.delete(entry.text);
    byText.set(entry.text, entry);
    shares?.use(entry.caller, entry.text);
  }

  return {
    hold(subject, callerOf) {
      const entry = byToken.get(subject.digest) ?? create(subject, callerOf(subject));
      use(entry);
      entry.holders += 1;
      return entry;
    },
    release(handle) {
      const entry = byText.get(handle.text);
      // After `clear` the same text may belong to another entry.
      if (entry !== handle) return;
      entry.holders -= 1;
      if (entry.holders === 0 && isExpired(entry)) remove(entry, 'expired');
    },
    find(text) {
      const entry = byText.get(text);
      if (entry === undefined || isExpired(entry)) return undefined;
      use(entry);
      return entry;
    },
    sweep() {
      const done = [...byText.values()].filter((entry) => entry.holders === 0 && isExpired(entry));
      for (const entry of done) remove(entry, 'expired');
      if (byText.size < max) shares = undefined;
    },
    get size() {
      return byText.size;
    },
    resize(next) {
      if (next === max) return;
      max = next;
      shares = undefined;
      while (byText.size > max && evictFor(undefined));
    },
    clear() {
      byText.clear();
      byToken.clear();
      shares = undefined;
    },
  };
}

function full(): CambistError {
  return new CambistError(
    'ERR_OVERLOADED',
    'inbound: requests in flight hold cache.max_entries handles: raise cache.max_entries, or lower limits.max_in_flight',
  );
}
