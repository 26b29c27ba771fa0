import type { LogFields } from './log-fields.ts';
import type { Logger } from './logger.ts';
import type { ExchangeOutcome, TokenObserver } from './token-observer.ts';

/** Under pressure a line for each eviction would be a second flood. */
const PRESSURE_LOG_PAUSE_MS = 60_000;

/** Writes what happens to tokens, and tells the one who counts it. */
export function createTokenLog(logger: Logger, counts: TokenObserver): TokenObserver {
  let silentUntilMs = 0;
  let evictedSince = 0;
  /** Routes whose tokens for other audiences have been logged: once, because a setting is the cause. */
  const loggedForOthers = new Set<string>();

  function logForOthers({ route, authorizationServer }: ExchangeOutcome): void {
    if (loggedForOthers.has(route)) return;
    loggedForOthers.add(route);
    logger.warn(
      { route, authorization_server: authorizationServer },
      'issued token is also valid at other audiences: see expect_audience.only',
    );
  }

  return {
    // The line of a request says how the cache answered it; when a credential ends is a metric, to be alerted on.
    ...counts,
    exchangeEnded(outcome) {
      counts.exchangeEnded(outcome);
      logger.writeLine(outcome.error === undefined ? 'info' : 'warn', fieldsOf(outcome), 'exchange');
      if (outcome.isForOthers === true) logForOthers(outcome);
    },
    tokenEvicted(reason) {
      counts.tokenEvicted(reason);
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
    availabilityChanged(authorizationServer, available) {
      counts.availabilityChanged(authorizationServer, available);
      const line = { authorization_server: authorizationServer };
      if (available) logger.info(line, 'the authorization server answers again');
      else logger.warn(line, 'the authorization server is taken to be down');
    },
  };
}

function fieldsOf({ route, authorizationServer, refresh, cause, error, durationMs }: ExchangeOutcome): LogFields {
  return {
    request_id: cause?.requestId,
    trace_id: cause?.traceId,
    route,
    authorization_server: authorizationServer,
    result: error === undefined ? 'success' : 'failure',
    refresh,
    duration_ms: durationMs,
    error: error?.code,
    oauth_error: error?.oauthError,
    err: error,
  };
}
