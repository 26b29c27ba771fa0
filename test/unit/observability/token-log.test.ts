import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createTokenLog } from '../../../src/observability/token-log.ts';
import { loggerWithLines } from './log-lines.ts';

const outcome = {
  route: 'github',
  authorizationServer: 'keycloak',
  refresh: true,
  error: undefined,
  durationMs: 1.23456,
};

/** A token log, its lines, and the events that it passes on. */
function setUp() {
  const { logger, lines } = loggerWithLines();
  const passed: unknown[][] = [];
  const log = createTokenLog(logger, {
    introspected: (...args) => void passed.push(['introspected', ...args]),
    cacheLookedUp: (...args) => void passed.push(['cacheLookedUp', ...args]),
    exchangeFinished: (...args) => void passed.push(['exchangeFinished', ...args]),
    tokenEvicted: (...args) => void passed.push(['tokenEvicted', ...args]),
    availabilityChanged: (...args) => void passed.push(['availabilityChanged', ...args]),
    credentialRead: (...args) => void passed.push(['credentialRead', ...args]),
  });
  return { log, lines, passed };
}

test('logs each exchange, with the error of a failed one', () => {
  const { log, lines } = setUp();
  log.exchangeFinished(outcome);
  log.exchangeFinished({
    ...outcome,
    error: new CambistError('ERR_EXCHANGE_REFUSED', 'refused', { oauthError: 'invalid_target' }),
  });
  const [good, bad] = lines.map(({ time: _time, ...line }) => line);
  const fields = {
    route: 'github',
    authorization_server: 'keycloak',
    refresh: true,
    duration_ms: 1.235,
    msg: 'exchange',
  };
  assert.deepEqual(good, { level: 'info', ...fields, result: 'success' });
  assert.deepEqual(bad, {
    level: 'warn',
    ...fields,
    result: 'failure',
    error: 'ERR_EXCHANGE_REFUSED',
    oauth_error: 'invalid_target',
    err: { code: 'ERR_EXCHANGE_REFUSED', message: 'refused' },
  });
});

test('names the request that an exchange was made for', () => {
  const { log, lines } = setUp();
  const cause = { peer: '10.0.0.1', requestId: 'r-1', traceId: '0af7651916cd43dd8448eb211c80319c', span: undefined };
  log.exchangeFinished({ ...outcome, cause });
  assert.deepEqual([lines[0]?.request_id, lines[0]?.trace_id], ['r-1', '0af7651916cd43dd8448eb211c80319c']);
});

test('warns of a token for other audiences once for each route', () => {
  const { log, lines } = setUp();
  for (const route of ['github', 'github', 'docs']) log.exchangeFinished({ ...outcome, route, isForOthers: true });
  const warnings = lines.filter(({ level }) => level === 'warn');
  assert.deepEqual(
    warnings.map(({ route, authorization_server }) => [route, authorization_server]),
    [
      ['github', 'keycloak'],
      ['docs', 'keycloak'],
    ],
  );
  assert.match(String(warnings[0]?.msg), /also valid at other audiences/);
});

test('logs when an authorization server goes down and when it responds again', () => {
  const { log, lines } = setUp();
  for (const available of [false, true]) log.availabilityChanged('keycloak', available);
  assert.deepEqual(
    lines.map(({ level, authorization_server }) => [level, authorization_server]),
    [
      ['warn', 'keycloak'],
      ['info', 'keycloak'],
    ],
  );
});

test('logs a full cache once a minute, not for each eviction', () => {
  const { log, lines } = setUp();
  for (let i = 0; i < 100; i += 1) log.tokenEvicted('capacity');
  for (const reason of ['expired', 'refused', 'session_ended', 'idle'] as const) log.tokenEvicted(reason);
  assert.deepEqual(
    lines.map(({ level, reason }) => [level, reason]),
    [['warn', 'capacity']],
  );
});

test('logs neither lookups nor expiries of credentials', () => {
  const { log, lines } = setUp();
  log.cacheLookedUp('github', 'hit');
  log.credentialRead('actor token', 1);
  assert.equal(lines.length, 0);
});

test('passes every event on to the counts', () => {
  const { log, passed } = setUp();
  log.cacheLookedUp('github', 'hit');
  log.exchangeFinished(outcome);
  log.tokenEvicted('idle');
  log.availabilityChanged('keycloak', false);
  log.credentialRead('key', 1);
  assert.deepEqual(passed, [
    ['cacheLookedUp', 'github', 'hit'],
    ['exchangeFinished', outcome],
    ['tokenEvicted', 'idle'],
    ['availabilityChanged', 'keycloak', false],
    ['credentialRead', 'key', 1],
  ]);
});
