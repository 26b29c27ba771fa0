import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { createShares } from '../tokens/shares.ts';
import type { Subject } from '../tokens/subject.ts';
import { handleText } from './handle-text.ts';

/** Stands for a caller's token. It is a secret as well: the agent can use it here while it lives. */
export interface Handle {
  readonly text: string;
  readonly subject: Subject;
}

/** The reason why a handle was removed. */
export type RemovalReason = (typeof REMOVAL_REASONS)[number];
export const REMOVAL_REASONS = ['expired', 'capacity'] as const;

/** The handles of this process. Bounded, and fair among callers. */
export interface Handles {
  /**
   * The handle of a token, which is not evicted before `release`. The same token has the same handle.
   * @param subject verified, and not expired
   * @param callerOf asked for a new handle: identifies the caller. A caller with many tokens loses its own handles first
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
  /** Requests in flight with this handle. */
  holders: number;
}

/** @param onRemoved called for each handle that is removed, except by `clear` */
export function createHandles(maxEntries: number, clock: Clock, onRemoved: (reason: RemovalReason) => void): Handles {
  /** Of this process alone, so that a handle is worthless anywhere else. */
  const key = randomBytes(32);
  const byText = new Map<string, Entry>();
  const byToken = new Map<string, Entry>();
  /** Handles without a request in flight, the least recently used first. */
  const idle = new Map<string, Entry>();
  let max = maxEntries;
  let shares = createShares(max);

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
    return entry;
  }

  /** Evicts a handle of the caller that exceeds its share, or else the least recently used one. */
  function evictFor(caller: string | undefined): boolean {
    const [oldest] = idle.keys();
    const entry = idle.get(shares.firstToGiveWay(caller) ?? oldest ?? '');
    if (entry === undefined) return false;
    remove(entry, isExpired(entry) ? 'expired' : 'capacity');
    return true;
  }

  function remove(entry: Entry, reason: RemovalReason): void {
    byText.delete(entry.text);
    byToken.delete(entry.subject.digest);
    stopIdling(entry);
    onRemoved(reason);
  }

  function idleFrom(entry: Entry): void {
    idle.set(entry.text, entry);
    shares.add(entry.caller, entry.text);
  }

  function stopIdling({ text, caller }: Entry): void {
    if (idle.delete(text)) shares.remove(caller, text);
  }

  return {
    hold(subject, callerOf) {
      const entry = byToken.get(subject.digest) ?? create(subject, callerOf(subject));
      stopIdling(entry);
      entry.holders += 1;
      return entry;
    },
    release(handle) {
      const entry = byText.get(handle.text);
      // After `clear` the same text may belong to another entry.
      if (entry !== handle) return;
      entry.holders -= 1;
      if (entry.holders > 0) return;
      if (isExpired(entry)) remove(entry, 'expired');
      else idleFrom(entry);
    },
    find(text) {
      const entry = byText.get(text);
      if (entry === undefined || isExpired(entry)) return undefined;
      if (idle.delete(text)) {
        idle.set(text, entry);
        shares.use(entry.caller, text);
      }
      return entry;
    },
    sweep() {
      for (const entry of [...idle.values()].filter(isExpired)) remove(entry, 'expired');
    },
    get size() {
      return byText.size;
    },
    resize(next) {
      max = next;
      shares = createShares(max);
      for (const { caller, text } of idle.values()) shares.add(caller, text);
      while (byText.size > max && evictFor(undefined));
    },
    clear() {
      for (const map of [byText, byToken, idle]) map.clear();
      shares = createShares(max);
    },
  };
}

function full(): CambistError {
  return new CambistError(
    'ERR_OVERLOADED',
    'inbound: requests in flight hold cache.max_entries handles: raise cache.max_entries, or lower limits.max_in_flight',
  );
}
