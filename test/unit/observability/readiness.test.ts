import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createReadiness, type Readiness, type ReadinessCheck } from '../../../src/observability/readiness.ts';
import { createTokenLog } from '../../../src/observability/token-log.ts';
import { loggerWithLines } from './log-lines.ts';

/** A check that succeeds unless the test sets an error. */
function checkOf(name: string) {
  const state: { error: unknown; attempts: number } = { error: undefined, attempts: 0 };
  const check: ReadinessCheck = {
    name,
    async run() {
      state.attempts += 1;
      if (state.error !== undefined) throw state.error;
    },
  };
  return { check, state };
}

const down = new CambistError('ERR_STS_UNAVAILABLE', 'down');

/** Lets pending promises settle. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

function start(t: TestContext): { readiness: Readiness; lines: Record<string, unknown>[] } {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { logger, lines } = loggerWithLines();
  const readiness = createReadiness(logger);
  t.after(() => readiness.stop());
  return { readiness, lines };
}

test('is not ready before the first config', (t) => {
  assert.deepEqual(start(t).readiness.report(), { ready: false, checks: {} });
});

test('is ready if there are no checks', (t) => {
  const { readiness } = start(t);
  readiness.require(new Map());
  assert.deepEqual(readiness.report(), { ready: true, checks: {} });
});

test('reports a check as waiting until it has succeeded', async (t) => {
  const { readiness } = start(t);
  readiness.require(new Map([['k', checkOf('keycloak').check]]));
  assert.deepEqual(readiness.report(), { ready: false, checks: { keycloak: 'waiting' } });
  await settle();
  assert.deepEqual(readiness.report(), { ready: true, checks: { keycloak: 'ready' } });
});

test('reports the error code of a failed check and retries until it succeeds', async (t) => {
  const { readiness } = start(t);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  readiness.require(new Map([['k', check]]));
  await settle();
  assert.deepEqual(readiness.report(), { ready: false, checks: { keycloak: 'ERR_STS_UNAVAILABLE' } });
  state.error = undefined;
  t.mock.timers.tick(250);
  await settle();
  assert.deepEqual(readiness.report(), { ready: true, checks: { keycloak: 'ready' } });
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(state.attempts, 2);
});

test('waits longer after each failure, up to five seconds', async (t) => {
  const { readiness } = start(t);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  readiness.require(new Map([['k', check]]));
  await settle();
  for (const delayMs of [250, 500, 1000, 2000, 4000, 5000, 5000]) {
    const { attempts } = state;
    t.mock.timers.tick(delayMs - 1);
    await settle();
    assert.equal(state.attempts, attempts, `before ${delayMs} ms`);
    t.mock.timers.tick(1);
    await settle();
    assert.equal(state.attempts, attempts + 1, `after ${delayMs} ms`);
  }
});

test('logs each cause of a failure once, and the success', async (t) => {
  const { readiness, lines } = start(t);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  readiness.require(new Map([['k', check]]));
  await settle();
  for (const error of [down, new TypeError('x'), undefined]) {
    state.error = error;
    t.mock.timers.tick(5000);
    await settle();
  }
  assert.deepEqual(
    lines.map(({ level, check: name, error }) => [level, name, error]),
    [
      ['warn', 'keycloak', 'ERR_STS_UNAVAILABLE'],
      ['warn', 'keycloak', 'ERR_INTERNAL'],
      ['info', 'keycloak', undefined],
    ],
  );
});

test('keeps ready checks on reload, runs new ones and forgets removed ones', async (t) => {
  const { readiness } = start(t);
  const kept = checkOf('kept');
  const gone = checkOf('gone');
  gone.state.error = down;
  readiness.require(
    new Map([
      ['a', kept.check],
      ['b', gone.check],
    ]),
  );
  await settle();
  const fresh = checkOf('fresh');
  readiness.require(
    new Map([
      ['a', kept.check],
      ['c', fresh.check],
    ]),
  );
  assert.deepEqual(readiness.report().checks, { kept: 'ready', fresh: 'waiting' });
  await settle();
  assert.equal(readiness.report().ready, true);
  t.mock.timers.tick(60_000);
  await settle();
  assert.deepEqual([kept.state.attempts, fresh.state.attempts, gone.state.attempts], [1, 1, 1]);
});

test('runs a check that returns after a reload once at a time', async (t) => {
  const { readiness } = start(t);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  const again = new Map([['k', check]]);
  readiness.require(again);
  await settle();
  readiness.require(new Map());
  readiness.require(again);
  await settle();
  assert.equal(state.attempts, 2);
  for (const delayMs of [250, 500, 1000]) {
    t.mock.timers.tick(delayMs);
    await settle();
  }
  assert.equal(state.attempts, 5);
});

test('ignores the result of an attempt whose check was removed', async (t) => {
  const { readiness, lines } = start(t);
  const failing = checkOf('failing');
  failing.state.error = down;
  readiness.require(
    new Map([
      ['a', failing.check],
      ['b', checkOf('working').check],
    ]),
  );
  readiness.require(new Map());
  await settle();
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(failing.state.attempts, 1);
  assert.deepEqual(lines, []);
});

test('is not ready after stop and makes no more attempts', async (t) => {
  const { readiness } = start(t);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  readiness.require(new Map([['k', check]]));
  await settle();
  readiness.stop();
  assert.equal(readiness.report().ready, false);
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(state.attempts, 1);
});

test('sets no timer for an attempt that fails after stop', async (t) => {
  const { logger } = loggerWithLines();
  const readiness = createReadiness(logger);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  readiness.require(new Map([['k', check]]));
  readiness.stop();
  const setTimer = t.mock.method(globalThis, 'setTimeout');
  await settle();
  assert.equal(state.attempts, 1);
  assert.equal(setTimer.mock.callCount(), 0);
});

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
