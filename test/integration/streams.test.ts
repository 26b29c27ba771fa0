import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { open } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

/** Parts of a stream that a proxy would change if it parsed and rewrote the stream. */
const PIECES = [
  'retry: 1500\n\n',
  ': keep-alive\n\n',
  ':\n\n',
  'id: 1\ndata: one\n\n',
  'data: two lines\ndata: of one event\n\n',
  'event: message\r\ndata: with carriage returns\r\n\r\n',
  'data:no space\n\n',
  'data\n\n',
  'unknown: field\ndata: ünïcödé 🙂\n\n',
  'id\ndata: half of an ev',
  'ent, and the other half\n\ndata: caf',
  // A character of two bytes.
  Buffer.from([0xc3]),
  Buffer.from([0xa9]),
  '\n\n',
  'data: with nothing after it',
];

for (const method of ['GET', 'POST']) {
  test(`relays an event stream in response to ${method} unchanged and without delay`, async (t) => {
    const stream = eventStream({ 'x-accel-buffering': 'no' });
    const { app, upstream, authorization } = await startGateway(t, { handler: stream.handler });
    const response = await open(`${app.url}/github`, {
      method,
      headers: { authorization, accept: 'text/event-stream', 'last-event-id': '7' },
      ...(method === 'POST' && { body: '{}' }),
    });
    assert.equal(upstream.requests[0]?.headers['last-event-id'], '7');
    const { 'content-type': type, 'content-encoding': coding, 'x-accel-buffering': buffering } = response.headers;
    assert.deepEqual([response.statusCode, type, coding, buffering], [200, 'text/event-stream', undefined, 'no']);
    let received = Buffer.alloc(0);
    response.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    let sent = Buffer.alloc(0);
    for (const piece of PIECES) {
      stream.write(piece);
      sent = Buffer.concat([sent, Buffer.from(piece)]);
      // The upstream writes the next part only after this one has arrived.
      await eventually(`"${piece}" has arrived`, () => received.length >= sent.length);
      assert.ok(received.equals(sent), `${received}`);
    }
    stream.end();
    await eventually('the stream is complete', () => response.complete);
    assert.ok(received.equals(sent));
  });
}

test('counts open streams, and no closed ones', async (t) => {
  const stream = eventStream();
  const { app } = await startPlainGateway(t, { handler: stream.handler });
  const gauge = async (name: string) => sumSamples(await app.metrics(), name, { route: 'plain' });
  const one = await open(`${app.url}/plain`);
  const other = await open(`${app.url}/plain`);
  assert.equal(await gauge('cambist_open_streams'), 2);
  assert.equal(await gauge('cambist_requests_in_flight'), 2);
  one.destroy();
  await eventually('one stream is left', async () => (await gauge('cambist_open_streams')) === 1);
  other.resume();
  stream.end();
  await eventually('no stream is left', async () => (await gauge('cambist_open_streams')) === 0);
  assert.equal(await gauge('cambist_requests_in_flight'), 0);
});
