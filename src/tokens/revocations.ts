import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import {
  createRevocationList,
  type Identity,
  keysOfRevocation,
  type Revocation,
  type RevocationEntry,
  toIdentity,
} from './revocation-list.ts';
import { revokedToken, type Subject } from './subject.ts';
import type { Claims } from './token-text.ts';

interface RevocationsOptions {
  readonly clock: Clock;
  /** A revocation is kept for this time after the event. */
  readonly rememberMs: number;
  readonly max?: number;
  /** Runs a function soon. Several revocations at once then cost one search. */
  readonly soon?: (run: () => void) => void;
  /** Called when the list is full, with the issuer whose older tokens are all refused from now on. */
  readonly onFull?: (issuer: string) => void;
  /** Called for each revocation that this replica adds. */
  readonly onAdded?: (entry: RevocationEntry) => void;
  /** Has this replica read the stored revocations? Until then, any token may be revoked. */
  readonly isComplete?: () => boolean;
}

/** Most revocations of a list. About 200 bytes each. */
export const MAX_REVOCATIONS = 100_000;
/** Tokens whose claims are remembered, so that their cached tokens can be dropped. */
const MAX_KNOWN_TOKENS = 20_000;
/** A search of all known tokens takes up to 15 ms. `check` is exact, so no request waits for a search. */
const SEARCH_INTERVAL_MS = 100;

export type Revocations = ReturnType<typeof createRevocations>;

export function createRevocations(options: RevocationsOptions) {
  const { clock, rememberMs, max = MAX_REVOCATIONS } = options;
  const { soon = (run) => void setTimeout(run, SEARCH_INTERVAL_MS).unref() } = options;
  const { onFull = () => {}, onAdded = () => {}, isComplete = () => true } = options;
  const list = createRevocationList({
    clock,
    rememberMs,
    max,
    onFull(entry) {
      onAdded(entry);
      onFull(entry.issuer);
    },
  });
  /** Revoked tokens stay: a route without introspection knows the names of an opaque token from here alone. */
  const known = new LRUCache<string, Identity>({ max: MAX_KNOWN_TOKENS });
  const identities = new WeakMap<Subject, Identity>();
  /** The epoch and the claims with which a token passed. */
  const passed = new WeakMap<Subject, { readonly epoch: number; readonly introspected: Claims }>();
  const listeners: ((digests: ReadonlySet<string>) => void)[] = [];
  let epoch = 0;
  let isSearching = false;

  function identityOf(subject: Subject): Identity {
    const { digest, introspected } = subject;
    const last = known.get(digest);
    // Another route may have introspected the same token, also after this subject was read.
    if (last !== undefined && (introspected === undefined || last.introspected === introspected)) return last;
    let identity = identities.get(subject);
    if (identity === undefined || identity.introspected !== introspected) {
      identity = toIdentity(subject);
      identities.set(subject, identity);
    }
    if (identity.names.length > 0) known.set(digest, identity);
    return identity;
  }

  function changed(): void {
    epoch += 1;
    searchSoon();
  }

  function searchSoon(): void {
    if (isSearching) return;
    isSearching = true;
    soon(() => {
      isSearching = false;
      const revoked = [...known].filter(([, identity]) => list.covers(identity.names)).map(([digest]) => digest);
      for (const listener of listeners) listener(new Set(revoked));
    });
  }

  /** Has this token passed since the last revocation? Every request asks, so it must be cheap. */
  function hasPassed(subject: Subject): boolean {
    const before = passed.get(subject);
    return before?.epoch === epoch && before.introspected === subject.introspected;
  }

  /** Is a subject's token revoked? Its claims may be unverified, because they only make cambist stricter. */
  function isRevoked(subject: Subject): boolean {
    return !hasPassed(subject) && list.covers(identityOf(subject).names);
  }

  return {
    /**
     * Adds a revocation. A replayed one, and one that is older than all tokens that matter, changes nothing.
     * @returns whether it changed something
     */
    revoke(revocation: Revocation): boolean {
      const { issuer } = revocation;
      const atMs = list.dated(revocation.atMs);
      const added = keysOfRevocation(revocation)
        .map((key) => ({ key, issuer, atMs }))
        .filter(list.add);
      if (added.length === 0) return false;
      for (const entry of added) onAdded(entry);
      changed();
      return true;
    },
    /** Adds revocations of other replicas. @returns how many of them changed something */
    restore(entries: Iterable<RevocationEntry>): number {
      const count = [...entries].filter(list.add).length;
      if (count > 0) changed();
      return count;
    },
    /** Everything in force, the oldest addition first. */
    list: list.all,
    isRevoked,
    /**
     * Refuses a revoked token. A token that passed is checked again only after the next revocation.
     * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, ERR_REVOCATIONS_UNKNOWN
     */
    check(subject: Subject): void {
      if (hasPassed(subject)) return;
      if (isRevoked(subject)) {
        throw revokedToken('the subject token is revoked: its user or session was signed out');
      }
      if (!isComplete()) {
        throw new CambistError(
          'ERR_REVOCATIONS_UNKNOWN',
          'the stored revocations were not read yet, so the subject token may be revoked: see cache.shared in /readyz',
        );
      }
      passed.set(subject, { epoch, introspected: subject.introspected });
    },
    /** @param listener gets the digests of revoked tokens that were in use, soon after they were revoked */
    onRevoked: (listener: (digests: ReadonlySet<string>) => void): void => void listeners.push(listener),
    /** Drops revocations whose time has passed. Called regularly. */
    sweep: list.sweep,
    get size() {
      return list.size;
    },
    /** Issuers whose older tokens are all refused, because the list was full. */
    get fullIssuers() {
      return list.fullIssuers;
    },
  };
}
