import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createReadiness, type Need, type Readiness } from '../../../src/observability/readiness.ts';
import { loggerWithLines } from './log-lines.ts';

/** Something needed that works when the test says so. */
function needed(name: string) {
  const state: { error: unknown; tries: number } = { error: undefined, tries: 0 };
  const need: Need = {
    name,
    async prepare() {
      state.tries += 1;
      if (state.error !== undefined) throw state.error;
    },
  };
  return { need, state };
}

const away = new CambistError('ERR_STS_UNAVAILABLE', 'away');

/** Lets all that waits for nothing but a promise go on. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

function start(t: TestContext): { readiness: Readiness; lines: Record<string, unknown>[] } {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { logger, lines } = loggerWithLines();
  const readiness = createReadiness(logger);
  t.after(() => readiness.stop());
  return { readiness, lines };
}

test('nothing is ready before it is known what is needed', (t) => {
  assert.deepEqual(start(t).readiness.report(), { ready: false, needs: {} });
});

test('where nothing is needed all is ready', (t) => {
  const { readiness } = start(t);
  readiness.require(new Map());
  assert.deepEqual(readiness.report(), { ready: true, needs: {} });
});

test('what is needed waits until it has worked, and then is ready', async (t) => {
  const { readiness } = start(t);
  readiness.require(new Map([['k', needed('keycloak').need]]));
  assert.deepEqual(readiness.report(), { ready: false, needs: { keycloak: 'waiting' } });
  await settle();
  assert.deepEqual(readiness.report(), { ready: true, needs: { keycloak: 'ready' } });
});

test('what does not work is reported by its code and tried again until it works', async (t) => {
  const { readiness } = start(t);
  const { need, state } = needed('keycloak');
  state.error = away;
  readiness.require(new Map([['k', need]]));
  await settle();
  assert.deepEqual(readiness.report(), { ready: false, needs: { keycloak: 'ERR_STS_UNAVAILABLE' } });
  state.error = undefined;
  t.mock.timers.tick(250);
  await settle();
  assert.deepEqual(readiness.report(), { ready: true, needs: { keycloak: 'ready' } });
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(state.tries, 2);
});

test('the pauses between tries grow to five seconds and no further', async (t) => {
  const { readiness } = start(t);
  const { need, state } = needed('keycloak');
  state.error = away;
  readiness.require(new Map([['k', need]]));
  await settle();
  for (const pauseMs of [250, 500, 1000, 2000, 4000, 5000, 5000]) {
    const { tries } = state;
    t.mock.timers.tick(pauseMs - 1);
    await settle();
    assert.equal(state.tries, tries, `before ${pauseMs} ms`);
    t.mock.timers.tick(1);
    await settle();
    assert.equal(state.tries, tries + 1, `after ${pauseMs} ms`);
  }
});

test('a fault is logged once for each cause, and so is its end', async (t) => {
  const { readiness, lines } = start(t);
  const { need, state } = needed('keycloak');
  state.error = away;
  readiness.require(new Map([['k', need]]));
  await settle();
  for (const error of [away, new TypeError('x'), undefined]) {
    state.error = error;
    t.mock.timers.tick(5000);
    await settle();
  }
  assert.deepEqual(
    lines.map(({ level, need: name, error }) => [level, name, error]),
    [
      ['warn', 'keycloak', 'ERR_STS_UNAVAILABLE'],
      ['warn', 'keycloak', 'ERR_INTERNAL'],
      ['info', 'keycloak', undefined],
    ],
  );
});

test('after a reload what was ready stays ready untried, what is new is tried, what is gone is forgotten', async (t) => {
  const { readiness } = start(t);
  const kept = needed('kept');
  const gone = needed('gone');
  gone.state.error = away;
  readiness.require(
    new Map([
      ['a', kept.need],
      ['b', gone.need],
    ]),
  );
  await settle();
  const fresh = needed('fresh');
  readiness.require(
    new Map([
      ['a', kept.need],
      ['c', fresh.need],
    ]),
  );
  assert.deepEqual(readiness.report().needs, { kept: 'ready', fresh: 'waiting' });
  await settle();
  assert.equal(readiness.report().ready, true);
  t.mock.timers.tick(60_000);
  await settle();
  assert.deepEqual([kept.state.tries, fresh.state.tries, gone.state.tries], [1, 1, 1]);
});

test('what is needed again after a reload that did not need it is tried once at a time', async (t) => {
  const { readiness } = start(t);
  const { need, state } = needed('keycloak');
  state.error = away;
  const needing = new Map([['k', need]]);
  readiness.require(needing);
  await settle();
  readiness.require(new Map());
  readiness.require(needing);
  await settle();
  assert.equal(state.tries, 2);
  for (const pauseMs of [250, 500, 1000]) {
    t.mock.timers.tick(pauseMs);
    await settle();
  }
  assert.equal(state.tries, 5);
});

test('a try that ends after its need has gone says nothing, and leads to no other', async (t) => {
  const { readiness, lines } = start(t);
  const failing = needed('failing');
  failing.state.error = away;
  readiness.require(
    new Map([
      ['a', failing.need],
      ['b', needed('working').need],
    ]),
  );
  readiness.require(new Map());
  await settle();
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(failing.state.tries, 1);
  assert.deepEqual(lines, []);
});

test('once stopped nothing is ready, and nothing is tried any more', async (t) => {
  const { readiness } = start(t);
  const { need, state } = needed('keycloak');
  state.error = away;
  readiness.require(new Map([['k', need]]));
  await settle();
  readiness.stop();
  assert.equal(readiness.report().ready, false);
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(state.tries, 1);
});

test('a try that fails only after the stop leaves no timer that would keep the process alive', async (t) => {
  const { logger } = loggerWithLines();
  const readiness = createReadiness(logger);
  const { need, state } = needed('keycloak');
  state.error = away;
  readiness.require(new Map([['k', need]]));
  readiness.stop();
  const setTimer = t.mock.method(globalThis, 'setTimeout');
  await settle();
  assert.equal(state.tries, 1);
  assert.equal(setTimer.mock.callCount(), 0);
});
