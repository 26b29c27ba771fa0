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

/** The log, and what it passes on to the one who counts. */
function setUp() {
  const { logger, lines } = loggerWithLines();
  const told: unknown[][] = [];
  const log = createTokenLog(logger, {
    cacheAnswered: (...args) => void told.push(['cacheAnswered', ...args]),
    exchangeEnded: (...args) => void told.push(['exchangeEnded', ...args]),
    tokenEvicted: (...args) => void told.push(['tokenEvicted', ...args]),
    availabilityChanged: (...args) => void told.push(['availabilityChanged', ...args]),
    credentialRead: (...args) => void told.push(['credentialRead', ...args]),
  });
  return { log, lines, told };
}

test('an exchange is a line, and one that failed says why', () => {
  const { log, lines } = setUp();
  log.exchangeEnded(outcome);
  log.exchangeEnded({
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

test('the request for whose sake a token was asked for is named', () => {
  const { log, lines } = setUp();
  const cause = { peer: '10.0.0.1', requestId: 'r-1', traceId: '0af7651916cd43dd8448eb211c80319c', span: undefined };
  log.exchangeEnded({ ...outcome, cause });
  assert.deepEqual([lines[0]?.request_id, lines[0]?.trace_id], ['r-1', '0af7651916cd43dd8448eb211c80319c']);
});

test('a token that is also valid at other audiences is logged once for each route', () => {
  const { log, lines } = setUp();
  for (const route of ['github', 'github', 'docs']) log.exchangeEnded({ ...outcome, route, isForOthers: true });
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

test('an authorization server that goes and comes is a line each', () => {
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

test('a full cache is a line now and then, and not one for each eviction', () => {
  const { log, lines } = setUp();
  for (let i = 0; i < 100; i += 1) log.tokenEvicted('capacity');
  for (const reason of ['expired', 'refused', 'session_ended', 'idle'] as const) log.tokenEvicted(reason);
  assert.deepEqual(
    lines.map(({ level, reason }) => [level, reason]),
    [['warn', 'capacity']],
  );
});

test('what is in the line of a request, or a metric only, is no line of its own', () => {
  const { log, lines } = setUp();
  log.cacheAnswered('github', 'hit');
  log.credentialRead('actor token', 1);
  assert.equal(lines.length, 0);
});

test('all of it is passed on to the one who counts', () => {
  const { log, told } = setUp();
  log.cacheAnswered('github', 'hit');
  log.exchangeEnded(outcome);
  log.tokenEvicted('idle');
  log.availabilityChanged('keycloak', false);
  log.credentialRead('key', 1);
  assert.deepEqual(told, [
    ['cacheAnswered', 'github', 'hit'],
    ['exchangeEnded', outcome],
    ['tokenEvicted', 'idle'],
    ['availabilityChanged', 'keycloak', false],
    ['credentialRead', 'key', 1],
  ]);
});
