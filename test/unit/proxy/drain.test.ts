import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { drain, settledWithin } from '../../../src/proxy/drain.ts';
import type { RequestTracker } from '../../../src/proxy/request-tracker.ts';
import { deferred } from '../../harness/deferred.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const START_MS = Date.parse('2026-11-24T12:00:00Z');

/** Drains a tracker with these requests, and with a grace of half a second. Returns when the first step is taken. */
async function start(t: TestContext, inFlight: number, hurry?: AbortSignal, connections = () => 0) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { promise: drained, resolve: settle } = deferred<void>();
  const tracker = { inFlight, openStreams: 1, isLeaving: false, drain: () => drained };
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
  const clock = createFakeClock(START_MS);
  const ended = drain([tracker as unknown as RequestTracker], { clock, graceMs: 500, hurry, logger, connections });
  await new Promise(setImmediate);
  const messages = () => lines.map(({ msg }) => String(msg).split(';')[0]);
  return { tracker, settle, ended, lines, messages };
}

test('says how many requests it waits for, until when, and that the time has elapsed', async (t) => {
  const { ended, lines, messages } = await start(t, 2);
  const [{ in_flight, open_streams, until } = {}] = lines;
  assert.deepEqual([in_flight, open_streams, until], [2, 1, new Date(START_MS + 500).toISOString()]);
  t.mock.timers.tick(500);
  await ended;
  assert.deepEqual(messages(), ['draining requests in flight', 'shutdown grace elapsed']);
});

test('first serves requests while connections are left, for half of a short grace', async (t) => {
  let open = 1;
  const gone = await start(t, 2, undefined, () => open);
  assert.deepEqual([gone.tracker.isLeaving, gone.messages()], [true, []]);
  open = 0;
  t.mock.timers.tick(150);
  await new Promise(setImmediate);
  assert.deepEqual(gone.messages(), []);
  t.mock.timers.tick(50);
  await new Promise(setImmediate);
  assert.deepEqual(gone.messages(), ['draining requests in flight']);
  t.mock.timers.reset();

  const stays = await start(t, 2, undefined, () => 1);
  t.mock.timers.tick(249);
  await new Promise(setImmediate);
  assert.deepEqual(stays.messages(), []);
  t.mock.timers.tick(1);
  await new Promise(setImmediate);
  assert.deepEqual(stays.messages(), ['draining requests in flight']);
});

test('waits no longer than the requests take', async (t) => {
  const { tracker, settle, ended, messages } = await start(t, 2);
  tracker.inFlight = 0;
  settle();
  await ended;
  assert.deepEqual(messages(), ['draining requests in flight']);
});

test('waits no longer once it must hurry', async (t) => {
  const hurry = new AbortController();
  const { ended, messages } = await start(t, 2, hurry.signal);
  hurry.abort();
  await ended;
  assert.deepEqual(messages(), ['draining requests in flight', 'second signal']);
});

test('neither waits nor logs if it must hurry from the start, as exec at the end of its command', async (t) => {
  const { ended, messages } = await start(t, 2, AbortSignal.abort());
  await ended;
  assert.deepEqual(messages(), []);
});

test('logs nothing where no request is in flight', async (t) => {
  const { settle, ended, messages } = await start(t, 0);
  settle();
  await ended;
  assert.deepEqual(messages(), []);
});

test('waits no longer when the time is already over, and gives Node no negative time to warn about', async (t) => {
  const { mock } = t.mock.method(globalThis, 'setTimeout');
  await settledWithin(deferred<void>().promise, -5, undefined);
  assert.deepEqual(
    mock.calls.map(({ arguments: [, ms] }) => ms),
    [0],
  );
});
