import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { createDispatchers } from '../../src/dispatchers.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

const HOUR_MS = 3_600_000;

/** The library's own clock, which it lets tests put forward. */
const timers = createRequire(import.meta.url)('undici/lib/util/timers.js') as { tick(ms: number): void };

test('a stream may be idle for an hour, and an answer may be an hour away', async (t) => {
  const stream = eventStream();
  const waiting: ServerResponse[] = [];
  const upstream = await startFakeUpstream((received, response) => {
    if (received.url === '/stream') return stream.handler(received, response);
    waiting.push(response);
  });
  t.after(upstream.close);
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  const pool = await dispatchers.for({ name: 'route "github"', tls: undefined, connectMs: 5000 });
  const slow = pool.request({ origin: upstream.url, path: '/slow', method: 'POST', body: '{}' });
  const { body } = await pool.request({ origin: upstream.url, path: '/stream', method: 'GET' });
  await eventually('both are under way', () => upstream.requests.length === 2);
  // A timer counts from the tick after the one in which it was set.
  timers.tick(1000);
  timers.tick(HOUR_MS);
  stream.emit('still here');
  stream.end();
  assert.equal(await body.text(), 'data: still here\n\n');
  for (const response of waiting) response.end('at last');
  assert.equal(await (await slow).body.text(), 'at last');
});
