import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { boundedRequest, toRequestUrl } from './bounded-request.ts';
import { createBreaker } from './breaker.ts';
import { discoverJwksUri } from './discovery.ts';

/** Whose keys, and where they are. */
export interface KeySource {
  readonly issuer: string;
  /** Undefined: where the issuer's metadata say. */
  readonly jwksUri: string | undefined;
  readonly allowInsecureHttp: boolean;
}

/** The public keys of an issuer. */
export interface IssuerKeys {
  /**
   * Fetches the keys, unless there are some.
   * @throws {CambistError} ERR_STS_UNAVAILABLE where none can be had
   */
  prepare(): Promise<void>;
  /**
   * The key of a token, as jose's `jwtVerify` asks for it. One that is not known makes it look for new ones.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, and {JWKSNoMatchingKey}
   */
  readonly find: JWTVerifyGetKey;
}

/** Keys are read anew after this long; where that fails the old serve on. */
const KEYS_LIFE_MS = 10 * 60 * 1000;
/** Tokens with made-up key ids must not make cambist hammer the issuer. */
const COOL_DOWN_MS = 30_000;
/** All that it takes to find and fetch them. */
export const KEYS_TIMEOUT_MS = 5000;

/**
 * @param dispatcher gives the connection pool
 * @see RFC 7517 section 5
 */
export function createIssuerKeys(
  source: KeySource,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
): IssuerKeys {
  const name = `issuer "${source.issuer}"`;
  const breaker = createBreaker(source.issuer, clock);
  let keys: ReturnType<typeof createLocalJWKSet> | undefined;
  let fetchedAtMs = Number.NEGATIVE_INFINITY;
  let triedAtMs = Number.NEGATIVE_INFINITY;
  let fetching: Promise<void> | undefined;

  async function fetchKeys(): Promise<void> {
    const untilMs = performance.now() + KEYS_TIMEOUT_MS;
    try {
      const pool = await dispatcher();
      const { issuer, jwksUri, allowInsecureHttp } = source;
      const url = jwksUri ?? (await discoverJwksUri(name, issuer, allowInsecureHttp, pool, untilMs));
      const headers = { accept: 'application/json' };
      const { status, text } = await boundedRequest(pool, { method: 'GET', url: toRequestUrl(url), headers, untilMs });
      if (status !== 200) throw unavailable(name, `its keys are answered with ${status}`);
      keys = createLocalJWKSet(JSON.parse(text) as JSONWebKeySet);
      fetchedAtMs = clock.monotonicMs();
    } catch (error) {
      throw error instanceof CambistError ? error : unavailable(name, 'its keys cannot be had', error);
    }
  }

  /** However many wait, one goes and looks. */
  function fetchOnce(): Promise<void> {
    triedAtMs = clock.monotonicMs();
    fetching ??= breaker.run(undefined, fetchKeys).finally(() => {
      fetching = undefined;
    });
    return fetching;
  }

  async function prepare(): Promise<void> {
    if (keys === undefined) await fetchOnce();
  }

  return {
    prepare,
    async find(header, token) {
      await prepare();
      const nowMs = clock.monotonicMs();
      if (nowMs >= fetchedAtMs + KEYS_LIFE_MS && nowMs >= triedAtMs + COOL_DOWN_MS) await fetchOnce().catch(() => {});
      const known = keys;
      if (known === undefined) throw unavailable(name, 'it has no keys');
      try {
        return await known(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey) || clock.monotonicMs() < triedAtMs + COOL_DOWN_MS) throw error;
        await fetchOnce();
        return (keys ?? known)(header, token);
      }
    },
  };
}

function unavailable(name: string, why: string, cause?: unknown): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', `${name}: ${why}`, { cause });
}
