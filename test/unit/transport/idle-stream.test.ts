import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { dispatched } from '../../harness/dispatched.ts';
import { eventually } from '../../harness/eventually.ts';
import { startFakeUpstream } from '../../harness/fake-upstream.ts';
import { eventStream } from '../../harness/upstream-handlers.ts';

const HOUR_MS = 3_600_000;

test('allows an idle hour on a stream, and an hour until a response', async (t) => {
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
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const slow = dispatched(pool, { origin: upstream.url, path: '/slow', method: 'POST', body: Buffer.from('{}') });
  const { text } = await dispatched(pool, { origin: upstream.url, path: '/stream' });
  await eventually('both are in flight', () => upstream.requests.length === 2);
  t.mock.timers.tick(HOUR_MS);
  t.mock.timers.reset();
  stream.emit('still here');
  stream.end();
  assert.equal(await text(), 'data: still here\n\n');
  for (const response of waiting) response.end('at last');
  assert.equal(await (await slow).text(), 'at last');
});
