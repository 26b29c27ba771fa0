import { createLocalJWKSet, errors, type FlattenedJWSInput, type JSONWebKeySet, type JWTHeaderParameters } from 'jose';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { readCredential } from '../secrets/credential.ts';
import { boundedRequest, toRequestUrl } from './bounded-request.ts';
import { discoverJwksUri, notFetched, unavailable } from './discovery.ts';
import { BEYOND_KEYS_TIMEOUT, KEYS_TIMEOUT_MS } from './server-request.ts';

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
 * The issuer gets at most one fetch in this time, whatever key ids callers make up. Because each fetch brings all keys, this is also
 * the longest time for which such tokens can delay a new key, unless the last fetch failed.
 */
const COOLDOWN_MS = 1000;
/** The cooldown doubles with each failure in a row, up to 32 s: callers would wait in vain for each fetch of an issuer that hangs. */
const MAX_DOUBLINGS = 5;

export type IssuerKeys = ReturnType<typeof createIssuerKeys>;

/**
 * Fetches and caches the keys of an issuer. jose's own `createRemoteJWKSet` does not use cached keys while the issuer is down.
 * @see RFC 7517 section 5
 */
export function createIssuerKeys(source: KeySource, dispatcher: () => Dispatcher | Promise<Dispatcher>, clock: Clock) {
  const name = `issuer "${source.issuer}"`;
  let keys = createLocalJWKSet({ keys: [] });
  /** Why the last fetch failed; undefined after a success. */
  let failure: unknown;
  let failures = 0;
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
      failure = undefined;
      failures = 0;
    } catch (error) {
      failures += 1;
      failure = error instanceof CambistError ? error : notFetched(name, 'its keys', BEYOND_KEYS_TIMEOUT, error);
      throw failure;
    }
  }

  /** Concurrent callers share one fetch. @returns false within the cooldown of the last one */
  async function fetchOnce(): Promise<boolean> {
    if (fetching === undefined) {
      const nowMs = clock.monotonicMs();
      const doublings = Math.min(MAX_DOUBLINGS, Math.max(0, failures - 1));
      if (nowMs < triedAtMs + COOLDOWN_MS * 2 ** doublings) return false;
      triedAtMs = nowMs;
      fetching = fetchKeys().finally(() => {
        fetching = undefined;
      });
    }
    await fetching;
    return true;
  }

  /**
   * Fetches the keys unless they are cached.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID
   */
  async function prepare(): Promise<void> {
    if (fetchedAtMs !== Number.NEGATIVE_INFINITY) return;
    if (!(await fetchOnce())) throw failure;
    // The first unknown key may be newer than these, and need not wait.
    triedAtMs = Number.NEGATIVE_INFINITY;
  }

  async function renewExpired(): Promise<void> {
    const nowMs = clock.monotonicMs();
    if (nowMs < fetchedAtMs + KEYS_LIFETIME_MS || nowMs < triedAtMs + RENEWAL_COOLDOWN_MS) return;
    await fetchOnce().catch(() => {
      // The cached keys stay in use.
    });
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
      try {
        return await keys(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        // After a failed fetch the key may well exist.
        if (!(await fetchOnce())) throw failure ?? error;
        return keys(header, token);
      }
    },
  };
}
