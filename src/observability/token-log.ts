import { performance } from 'node:perf_hooks';
import type { CambistError } from '../errors.ts';
import type { LogFields } from './log-fields.ts';
import { type LineLevel, logLine } from './log-line.ts';
import type { Logger } from './logger.ts';
import type { ExchangeOutcome, TokenObserver } from './token-observer.ts';

/** A full cache evicts at every exchange, which must not mean a line each. */
const CAPACITY_LOG_INTERVAL_MS = 60_000;

export function createTokenLog(logger: Logger, counts: TokenObserver): TokenObserver {
  let silentUntilMs = 0;
  let evictedSince = 0;
  /** Routes with a logged warning about other audiences. It comes once, because a setting is the cause. */
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
    // The log line of a request has the result of its lookup. The expiry of a credential is a metric.
    ...counts,
    exchangeFinished(outcome) {
      counts.exchangeFinished(outcome);
      const level = outcome.error === undefined ? 'info' : 'warn';
      if (logger.isLevelEnabled(level)) logger.writeLine(exchangeLine(level, outcome));
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
        'token cache is full; evicting tokens causes more exchanges: raise cache.max_entries',
      );
      evictedSince = 0;
      silentUntilMs = now + CAPACITY_LOG_INTERVAL_MS;
    },
    availabilityChanged(authorizationServer, available) {
      counts.availabilityChanged(authorizationServer, available);
      const line = { authorization_server: authorizationServer };
      if (available) logger.info(line, 'authorization server responds again');
      else logger.warn(line, 'authorization server is considered down; cached tokens stay in use');
    },
  };
}

/** `config/log.md` has the table of its fields. */
function exchangeLine(level: LineLevel, outcome: ExchangeOutcome): string {
  const { route, authorizationServer, grant, refresh, cause, error, durationMs } = outcome;
  const fields = {
    request_id: cause?.requestId,
    trace_id: cause?.traceId,
    route,
    authorization_server: authorizationServer,
    grant,
    result: error === undefined ? 'success' : 'failure',
    refresh,
    duration_ms: durationMs,
    ...(error !== undefined && errorFields(error)),
  };
  return logLine(level, fields, 'exchange');
}

function errorFields(error: CambistError): LogFields {
  return { error: error.code, oauth_error: error.oauthError, err: error, ...error.diagnosis };
}
