import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createCounts } from '../../../src/observability/counts.ts';
import { createReadiness, type ReadinessCheck } from '../../../src/observability/readiness.ts';
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

function start(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { logger, lines } = loggerWithLines();
  const readiness = createReadiness(logger);
  t.after(() => readiness.stop());
  const pass = async (ms: number) => {
    t.mock.timers.tick(ms);
    await settle();
  };
  return { readiness, lines, pass };
}

/** With one check, which has failed once. */
async function startFailing(t: TestContext) {
  const parts = start(t);
  const { check, state } = checkOf('keycloak');
  state.error = down;
  const checks = new Map([['k', check]]);
  parts.readiness.require(checks);
  await settle();
  return { ...parts, checks, state };
}

test('is ready if there are no checks, but not before the first config', (t) => {
  const { readiness } = start(t);
  assert.deepEqual(readiness.report(), { ready: false, checks: {} });
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
  const { readiness, state, pass } = await startFailing(t);
  assert.deepEqual(readiness.report(), { ready: false, checks: { keycloak: 'ERR_STS_UNAVAILABLE' } });
  state.error = undefined;
  await pass(250);
  assert.deepEqual(readiness.report(), { ready: true, checks: { keycloak: 'ready' } });
  await pass(60_000);
  assert.equal(state.attempts, 2);
});

test('waits longer after each failure, up to five seconds', async (t) => {
  const { state, pass } = await startFailing(t);
  for (const delayMs of [250, 500, 1000, 2000, 4000, 5000, 5000]) {
    const { attempts } = state;
    await pass(delayMs - 1);
    assert.equal(state.attempts, attempts, `before ${delayMs} ms`);
    await pass(1);
    assert.equal(state.attempts, attempts + 1, `after ${delayMs} ms`);
  }
});

test('logs each cause of a failure once, and the success', async (t) => {
  const { lines, state, pass } = await startFailing(t);
  for (const error of [down, new TypeError('x'), undefined]) {
    state.error = error;
    await pass(5000);
  }
  const logged = lines.map(({ level, check: name, error = 'ready' }) => `${level} ${name} ${error}`);
  assert.deepEqual(logged, ['warn keycloak ERR_STS_UNAVAILABLE', 'warn keycloak ERR_INTERNAL', 'info keycloak ready']);
});

test('keeps ready checks on reload, runs new ones and forgets removed ones', async (t) => {
  const { readiness, pass } = start(t);
  const [kept, gone, fresh] = [checkOf('kept'), checkOf('gone'), checkOf('fresh')];
  gone.state.error = down;
  readiness.require(new Map(Object.entries({ a: kept.check, b: gone.check })));
  await settle();
  readiness.require(new Map(Object.entries({ a: kept.check, c: fresh.check })));
  assert.deepEqual(readiness.report().checks, { kept: 'ready', fresh: 'waiting' });
  await settle();
  assert.equal(readiness.report().ready, true);
  await pass(60_000);
  assert.deepEqual([kept.state.attempts, fresh.state.attempts, gone.state.attempts], [1, 1, 1]);
});

test('runs a check that returns after a reload once at a time', async (t) => {
  const { readiness, checks, state, pass } = await startFailing(t);
  readiness.require(new Map());
  readiness.require(checks);
  await settle();
  assert.equal(state.attempts, 2);
  for (const delayMs of [250, 500, 1000]) {
    await pass(delayMs);
  }
  assert.equal(state.attempts, 5);
});

test('ignores the result of an attempt whose check was removed', async (t) => {
  const { readiness, lines, pass } = start(t);
  const failing = checkOf('failing');
  failing.state.error = down;
  readiness.require(new Map(Object.entries({ a: failing.check, b: checkOf('working').check })));
  readiness.require(new Map());
  await settle();
  await pass(60_000);
  assert.equal(failing.state.attempts, 1);
  assert.deepEqual(lines, []);
});

test('is not ready after stop and makes no more attempts', async (t) => {
  const { readiness, checks, state, pass } = await startFailing(t);
  const late = checkOf('fails after the stop');
  late.state.error = down;
  readiness.require(new Map([...checks, ['late', late.check]]));
  readiness.stop();
  assert.equal(readiness.report().ready, false);
  await settle();
  await pass(60_000);
  assert.deepEqual([state.attempts, late.state.attempts], [1, 1]);
});

const outcome = {
  route: 'github',
  authorizationServer: 'keycloak',
  refresh: true,
  error: undefined,
  durationMs: 1.23456,
};

/** A token log, and its lines. */
function setUp() {
  const { logger, lines } = loggerWithLines();
  return { log: createTokenLog(logger, createCounts(Date.now).tokens), lines };
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
  const warned = warnings.map((line) => `${line.route} ${line.authorization_server}`);
  assert.deepEqual(warned, ['github keycloak', 'docs keycloak']);
  assert.match(String(warnings[0]?.msg), /also valid at other audiences/);
});

test('logs a full cache once a minute, not for each eviction', () => {
  const { log, lines } = setUp();
  for (let i = 0; i < 100; i += 1) log.tokenEvicted('capacity');
  for (const reason of ['expired', 'refused', 'session_ended', 'idle'] as const) log.tokenEvicted(reason);
  assert.deepEqual(
    lines.map(({ level, reason }) => `${level} ${reason}`),
    ['warn capacity'],
  );
});
