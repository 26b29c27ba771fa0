import { hash } from 'node:crypto';
import { createLocalJWKSet, errors, type FlattenedJWSInput, type JSONWebKeySet, type JWTHeaderParameters } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { readCredential } from '../secrets/credential.ts';
import { boundedRequest, toRequestUrl } from './bounded-request.ts';
import { createBreaker } from './breaker.ts';
import { discoverJwksUri, notFetched, unavailable } from './discovery.ts';
import { BEYOND_KEYS_TIMEOUT, KEYS_TIMEOUT_MS } from './server-request.ts';

/**
 * Admits a burst at once, and after it one event in each interval.
 * @returns a function that counts an event, or returns false when the event exceeds the rate
 */
export function createRateLimit(burst: number, intervalMs: number, clock: Clock): () => boolean {
  /** Monotonic milliseconds at which the whole burst is available again. */
  let fullAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = clock.monotonicMs();
    const nextFullAtMs = Math.max(fullAtMs, nowMs) + intervalMs;
    if (nextFullAtMs > nowMs + burst * intervalMs) return false;
    fullAtMs = nextFullAtMs;
    return true;
  };
}

/** Where `jwksUri` is not configured, the issuer's metadata has it. */
type KeySource = Pick<SubjectVerification, 'issuer' | 'jwksUri' | 'jwksToken' | 'allowInsecureHttp'>;

/** Keys are fetched again after this time. Cached keys stay in use while that fails. */
const KEYS_LIFETIME_MS = 10 * 60 * 1000;
/** Issuers have a handful. A token without a key id, which may be made up, tries each key that it could be signed with. */
const MAX_KEYS = 100;
/** Kubernetes serves its keys as the first type alone (RFC 7517 section 8.5.2), and other issuers as the second. */
const KEY_TYPES = 'application/jwk-set+json, application/json';
/** Minimum delay between two attempts to renew expired keys. */
const RENEWAL_COOLDOWN_MS = 30_000;

/**
 * Tokens with unknown key ids cost the issuer one fetch in this time, after a burst. Because each fetch brings all keys, this
 * is also the longest time for which such tokens can delay a new key.
 */
const UNKNOWN_KEY_INTERVAL_MS = 2000;
const UNKNOWN_KEY_BURST = 5;
/** Unknown keys that are remembered, so that one of them does not use up the burst. */
const MAX_UNKNOWN_KEYS = 1000;

export type IssuerKeys = ReturnType<typeof createIssuerKeys>;

/**
 * Fetches and caches the keys of an issuer.
 *
 * jose's own `createRemoteJWKSet` has a single cooldown: a token with an unknown key id would delay a new key by that time.
 * @see RFC 7517 section 5
 */
export function createIssuerKeys(source: KeySource, dispatcher: () => Dispatcher | Promise<Dispatcher>, clock: Clock) {
  const name = `issuer "${source.issuer}"`;
  const breaker = createBreaker(source.issuer, clock);
  const mayFetchUnknown = createRateLimit(UNKNOWN_KEY_BURST, UNKNOWN_KEY_INTERVAL_MS, clock);
  const unknownSinceMs = new LRUCache<string, number>({ max: MAX_UNKNOWN_KEYS });
  let keys: ReturnType<typeof createLocalJWKSet> | undefined;
  /** Why the last fetch failed; undefined after a success. */
  let failure: unknown;
  let fetchedAtMs = Number.NEGATIVE_INFINITY;
  let triedAtMs = Number.NEGATIVE_INFINITY;
  let fetching: Promise<void> | undefined;

  async function fetchKeys(): Promise<void> {
    const untilMs = performance.now() + KEYS_TIMEOUT_MS;
    try {
      const pool = await dispatcher();
      const { issuer, jwksUri, allowInsecureHttp, jwksToken } = source;
      const url = jwksUri ?? (await discoverJwksUri({ name, issuer, allowInsecureHttp }, pool, untilMs));
      const own = jwksToken && (await readCredential(jwksToken, `token for the keys of ${name}`));
      const headers = { accept: KEY_TYPES, ...(own && { authorization: `Bearer ${own.reveal().trim()}` }) };
      const { status, text } = await boundedRequest(pool, { method: 'GET', url: toRequestUrl(url), headers, untilMs });
      if (status !== 200) throw unavailable(name, `the request for its keys returned status ${status}`);
      const set = JSON.parse(text) as JSONWebKeySet;
      if (set.keys.length > MAX_KEYS)
        throw unavailable(name, `it has ${set.keys.length} keys: the limit is ${MAX_KEYS}`);
      keys = createLocalJWKSet(set);
      fetchedAtMs = clock.monotonicMs();
    } catch (error) {
      if (error instanceof CambistError) throw error;
      throw notFetched(name, 'its keys', BEYOND_KEYS_TIMEOUT, error);
    }
  }

  /** Concurrent callers share one fetch. */
  function fetchOnce(): Promise<void> {
    triedAtMs = clock.monotonicMs();
    fetching ??= breaker
      .run(undefined, fetchKeys)
      .then(
        () => {
          failure = undefined;
        },
        (error: unknown) => {
          failure = error;
          throw error;
        },
      )
      .finally(() => {
        fetching = undefined;
      });
    return fetching;
  }

  /**
   * Fetches the keys unless they are cached.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID
   */
  async function prepare(): Promise<void> {
    if (keys === undefined) await fetchOnce();
  }

  async function renewExpired(): Promise<void> {
    const nowMs = clock.monotonicMs();
    if (nowMs < fetchedAtMs + KEYS_LIFETIME_MS || nowMs < triedAtMs + RENEWAL_COOLDOWN_MS) return;
    await fetchOnce().catch(() => {
      // The cached keys stay in use.
    });
  }

  /** @returns false where a fetch for this key would exceed the rate */
  async function fetchUnknown(id: string): Promise<boolean> {
    if (clock.monotonicMs() < (unknownSinceMs.get(id) ?? Number.NEGATIVE_INFINITY) + UNKNOWN_KEY_INTERVAL_MS)
      return false;
    if (fetching === undefined && !mayFetchUnknown()) return false;
    await fetchOnce();
    return true;
  }

  return {
    prepare,
    /**
     * Finds the key of a token, for jose's `jwtVerify`. An unknown key makes it fetch the keys again.
     * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID, and {JWKSNoMatchingKey}
     */
    async find(header: JWTHeaderParameters, token: FlattenedJWSInput) {
      await prepare();
      await renewExpired();
      const cached = keys;
      if (cached === undefined) throw unavailable(name, 'it has no keys');
      try {
        return await cached(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        const id = keyId(header);
        // After a failed fetch the key may well exist.
        if (!(await fetchUnknown(id))) throw failure ?? error;
        try {
          return await (keys ?? cached)(header, token);
        } catch (stillUnknown) {
          unknownSinceMs.set(id, clock.monotonicMs());
          throw stillUnknown;
        }
      }
    },
  };
}

/** Bounded in length, whatever a caller writes into the header. */
function keyId({ alg, kid }: JWTHeaderParameters): string {
  return hash('sha256', JSON.stringify([alg, kid]), 'base64url');
}
