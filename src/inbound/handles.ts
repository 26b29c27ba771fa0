import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { createShares, type Shares } from '../tokens/shares.ts';
import { claimsOf, type Subject } from '../tokens/subject.ts';
import { handleText } from './handle-text.ts';

/** Stands for a caller's token. It is a secret as well: the agent can use it here while it lives. */
export interface Handle {
  readonly text: string;
  readonly subject: Subject;
  /** Numbers of the requests of its caller that are in flight. */
  readonly requests: ReadonlySet<number>;
}

/** A handle, and a request of its caller that is in flight. */
export interface HeldHandle {
  readonly handle: Handle;
  /** Differs from that of every other request. */
  readonly request: number;
}

export type RemovalReason = (typeof REMOVAL_REASONS)[number];
export const REMOVAL_REASONS = ['expired', 'capacity', 'revoked'] as const;

/** The handles of this process. Bounded, and fair among callers. */
export type Handles = ReturnType<typeof createHandles>;

interface Entry extends Handle {
  /** The caller at the last request, because introspection may state other claims and another expiry each time. */
  subject: Subject;
  readonly caller: string;
  expiresAtMs: number;
  /** Monotonic milliseconds, because the wall clock may be set back. */
  expiresAtMonotonicMs: number;
  readonly requests: Set<number>;
}

/**
 * @param onRemoved called for each handle that is removed, except by `clear`
 * @param sharedDigest gives a token the same digest at all replicas. Undefined: replicas share nothing now
 */
export function createHandles(
  maxEntries: number,
  clock: Clock,
  onRemoved: (reason: RemovalReason) => void,
  sharedDigest: (token: string) => string | undefined = () => undefined,
) {
  /** Only this process has it, so that a handle is worthless anywhere else. */
  const key = randomBytes(32);
  const isExpired = ({ expiresAtMs, expiresAtMonotonicMs }: Entry): boolean =>
    expiresAtMs <= clock.wallMs() || expiresAtMonotonicMs <= clock.monotonicMs();
  const table = createTable(maxEntries, isExpired, onRemoved);
  let lastRequest = 0;

  function textFor({ token }: Subject): string {
    const value = token.reveal();
    return handleText(sharedDigest(value) ?? createHmac('sha256', key).update(value).digest('base64url'));
  }

  /** The entry of a text, which another replica may have given already. */
  function entryOf(subject: Subject, text: string): Entry {
    const known = table.get(text);
    if (known !== undefined) return known;
    const caller = callerOf(subject);
    const entry: Entry = { text, subject, caller, expiresAtMs: 0, expiresAtMonotonicMs: 0, requests: new Set() };
    update(entry, subject);
    table.add(entry);
    return entry;
  }

  function update(entry: Entry, subject: Subject): void {
    entry.subject = subject;
    const { expiresAtMs = 0 } = subject;
    if (expiresAtMs === entry.expiresAtMs) return;
    entry.expiresAtMs = expiresAtMs;
    entry.expiresAtMonotonicMs = clock.monotonicMs() + expiresAtMs - clock.wallMs();
  }

  /** Removes the handles of revoked tokens, even those of requests in flight. */
  function removeRevoked(isRevoked: (subject: Subject) => boolean): void {
    table.removeAll('revoked', ({ subject }) => isRevoked(subject));
  }

  return {
    /**
     * The handle of a token, which is not evicted before `release`. The same token has the same handle.
     * @param subject verified, and not expired
     * @throws {CambistError} ERR_OVERLOADED where every handle belongs to a request in flight
     */
    hold(subject: Subject): HeldHandle {
      const entry = table.ofToken(subject.digest) ?? entryOf(subject, textFor(subject));
      update(entry, subject);
      lastRequest += 1;
      entry.requests.add(lastRequest);
      table.use(entry);
      return { handle: entry, request: lastRequest };
    },
    /** Called once for each `hold`, when its request is complete. */
    release({ handle, request }: HeldHandle): void {
      const entry = table.get(handle.text);
      // After `clear` the same text may belong to another entry.
      if (entry !== handle) return;
      entry.requests.delete(request);
      if (entry.requests.size > 0) return;
      if (isExpired(entry)) table.remove(entry, 'expired');
      else table.use(entry);
    },
    /** The handle with a text, unless it is unknown or expired. Counts as a use. */
    find(text: string): Handle | undefined {
      const entry = table.get(text);
      if (entry === undefined || isExpired(entry)) return undefined;
      // One in flight is used again when it is released.
      if (entry.requests.size === 0) table.use(entry);
      return entry;
    },
    /**
     * Keeps a handle that another replica gave. No request is in flight with it here.
     * @param subject verified, and not expired
     * @throws {CambistError} ERR_OVERLOADED as `hold`
     */
    adopt(text: string, subject: Subject): Handle {
      const entry = entryOf(subject, text);
      table.use(entry);
      return entry;
    },
    sweep(): void {
      table.removeAll('expired', (entry) => entry.requests.size === 0 && isExpired(entry));
      table.forgetShares();
    },
    get size(): number {
      return table.size;
    },
    resize: table.resize,
    /** Removes the handle of a token that became invalid, even if a request in flight uses it. */
    drop({ digest }: Subject): void {
      // Most tokens that are refused never had a handle.
      if (table.ofToken(digest) !== undefined) removeRevoked((subject) => subject.digest === digest);
    },
    removeRevoked,
    clear: table.clear,
  };
}

/** The entries by text and by token. At the bound, an entry gives way to a new one. */
function createTable(
  maxEntries: number,
  isExpired: (entry: Entry) => boolean,
  onRemoved: (reason: RemovalReason) => void,
) {
  /** The least recently used first. */
  const byText = new Map<string, Entry>();
  const byToken = new Map<string, Entry>();
  let max = maxEntries;
  /** Kept only at the bound. Below it nothing is evicted, and each use would cost a second list. */
  let shares: Shares | undefined;

  /** Evicts the least recently used handle of the caller that exceeds its share, or else of any caller. */
  function evictFor(caller: string | undefined): boolean {
    shares ??= sharesOf(byText.values(), max);
    const text = shares.firstToGiveWay(caller, (one) => byText.get(one)?.requests.size === 0);
    const entry = text === undefined ? firstIdle() : byText.get(text);
    if (entry === undefined) return false;
    remove(entry, isExpired(entry) ? 'expired' : 'capacity');
    return true;
  }

  /** The least recently used handle without a request in flight. Those before it are in use, and move to the end. */
  function firstIdle(): Entry | undefined {
    for (let left = byText.size; left > 0; left -= 1) {
      const [entry] = byText.values();
      if (entry === undefined || entry.requests.size === 0) return entry;
      use(entry);
    }
    return undefined;
  }

  function remove(entry: Entry, reason: RemovalReason): void {
    byText.delete(entry.text);
    if (byToken.get(entry.subject.digest) === entry) byToken.delete(entry.subject.digest);
    shares?.remove(entry.caller, entry.text);
    onRemoved(reason);
  }

  function use(entry: Entry): void {
    byText.delete(entry.text);
    byText.set(entry.text, entry);
    shares?.use(entry.caller, entry.text);
  }

  return {
    get: (text: string): Entry | undefined => byText.get(text),
    ofToken: (digest: string): Entry | undefined => byToken.get(digest),
    get size(): number {
      return byText.size;
    },
    /** Makes room for a handle. @throws {CambistError} ERR_OVERLOADED where every other belongs to a request in flight */
    add(entry: Entry): void {
      const { text, caller, subject } = entry;
      while (byText.size >= max) if (!evictFor(caller)) throw full();
      byText.set(text, entry);
      // A handle of an earlier key does not take the place of the current one.
      if (!byToken.has(subject.digest)) byToken.set(subject.digest, entry);
      shares?.add(caller, text);
    },
    use,
    remove,
    removeAll(reason: RemovalReason, isRemoved: (entry: Entry) => boolean): void {
      for (const entry of [...byText.values()].filter(isRemoved)) remove(entry, reason);
    },
    forgetShares(): void {
      if (byText.size < max) shares = undefined;
    },
    /** Changes the bound. The most recently used handles stay. */
    resize(next: number): void {
      if (next === max) return;
      max = next;
      shares = undefined;
      while (byText.size > max && evictFor(undefined));
    },
    clear(): void {
      byText.clear();
      byToken.clear();
      shares = undefined;
    },
  };
}

/** Tokens of one caller share an issuer and a subject. A caller with many tokens loses its own handles first. */
function callerOf(subject: Subject): string {
  const { iss, sub } = claimsOf(subject) ?? {};
  // Only text counts: JSON may nest so deeply that writing it exhausts the stack.
  return JSON.stringify([iss, sub].map((value) => (typeof value === 'string' ? value : undefined)));
}

/** @param entries the least recently used first */
function sharesOf(entries: Iterable<Entry>, max: number): Shares {
  const shares = createShares(max);
  for (const { caller, text } of entries) shares.add(caller, text);
  return shares;
}

function full(): CambistError {
  return new CambistError(
    'ERR_OVERLOADED',
    'inbound: requests in flight hold cache.max_entries handles: raise cache.max_entries, or lower limits.max_in_flight',
  );
}
