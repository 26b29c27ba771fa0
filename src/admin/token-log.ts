import type { Logger } from '../logger.ts';
import type { TokenObserver } from '../tokens/observer.ts';

/** Under pressure a line for each eviction would be a second flood. */
const PRESSURE_LOG_PAUSE_MS = 60_000;

/** Writes what happens to tokens, beside the metrics that count it. */
export function createTokenLog(logger: Logger): TokenObserver {
  let silentUntilMs = 0;
  let evictedSince = 0;

  return {
    cacheAnswered() {
      // It is in the line of the request.
    },
    exchangeEnded({ route, authorizationServer, refresh, error, durationMs }) {
      const line = {
        route,
        authorization_server: authorizationServer,
        result: error === undefined ? 'success' : 'failure',
        refresh,
        code: error?.code,
        oauth_error: error?.oauthError,
        duration_ms: Math.round(durationMs * 1000) / 1000,
        err: error,
      };
      if (error === undefined) logger.info(line, 'exchange');
      else logger.warn(line, 'exchange');
    },
    tokenEvicted(reason) {
      if (reason !== 'capacity') return;
      evictedSince += 1;
      const now = performance.now();
      if (now < silentUntilMs) return;
      logger.warn(
        { reason, evicted: evictedSince },
        'the cache is full: raise cache.max_entries, or expect more exchanges',
      );
      evictedSince = 0;
      silentUntilMs = now + PRESSURE_LOG_PAUSE_MS;
    },
    credentialRead() {
      // It is a metric, to be alerted on.
    },
  };
}

/** Tells two. */
export function both(one: TokenObserver, other: TokenObserver): TokenObserver {
  return {
    cacheAnswered(route, result) {
      one.cacheAnswered(route, result);
      other.cacheAnswered(route, result);
    },
    exchangeEnded(outcome) {
      one.exchangeEnded(outcome);
      other.exchangeEnded(outcome);
    },
    tokenEvicted(reason) {
      one.tokenEvicted(reason);
      other.tokenEvicted(reason);
    },
    credentialRead(credential, expiresAtSeconds) {
      one.credentialRead(credential, expiresAtSeconds);
      other.credentialRead(credential, expiresAtSeconds);
    },
  };
}
