import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { open } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

/** What came of a body, as it comes. */
function reader(answer: IncomingMessage) {
  let text = '';
  answer.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  answer.on('error', () => {});
  return { text: () => text, until: (wanted: string) => eventually(wanted, () => text.endsWith(wanted)) };
}

test('the head of a stream comes before its first event, and each event when it is sent', async (t) => {
  const stream = eventStream({ 'x-accel-buffering': 'no' });
  const { app, authorization } = await startGateway(t, { handler: stream.handler });
  const headers = { authorization, accept: 'text/event-stream' };
  const answer = await soon('the head of the stream', open(`${app.url}/github`, { headers }));
  assert.equal(answer.statusCode, 200);
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  assert.equal(answer.headers['x-accel-buffering'], 'no');
  const { text, until } = reader(answer);
  assert.equal(text(), '');
  for (const [data, all] of [
    ['one', 'data: one\n\n'],
    ['two', 'data: one\n\ndata: two\n\n'],
  ] as const) {
    stream.emit(data);
    await until(all);
  }
  stream.end();
  await eventually('the stream has ended', () => answer.complete);
  assert.equal(text(), 'data: one\n\ndata: two\n\n');
});

test('comments, ids, retry lines and bytes cut in two pass as they are', async (t) => {
  const parts = [
    ': keep-alive\n\n',
    'id: 7\nretry: 3000\n',
    'event: message\r\ndata: caf',
    Buffer.from([0xc3]),
    Buffer.from([0xa9]),
    '\r\n\r\n',
  ];
  const { app } = await startPlainGateway(t, {
    async handler(_received, response) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const part of parts) {
        response.write(part);
        await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    },
  });
  const answer = await open(`${app.url}/plain`);
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  assert.ok(Buffer.concat(chunks).equals(Buffer.concat(parts.map((part) => Buffer.from(part)))));
});

test('a POST may be answered with a stream, and Last-Event-ID reaches the upstream', async (t) => {
  const stream = eventStream();
  const { app, upstream } = await startPlainGateway(t, { handler: stream.handler });
  const answer = await open(`${app.url}/plain`, { body: '{}', headers: { 'last-event-id': '7' } });
  const { until } = reader(answer);
  stream.emit('progress');
  await until('data: progress\n\n');
  assert.equal(upstream.requests[0]?.headers['last-event-id'], '7');
  answer.destroy();
});

test('streams that are open are counted, and those that are closed no more', async (t) => {
  const stream = eventStream();
  const { app } = await startPlainGateway(t, { handler: stream.handler });
  const gauge = async (name: string) => sumSamples(await app.metrics(), name, { route: 'plain' });
  const one = await open(`${app.url}/plain`);
  const other = await open(`${app.url}/plain`);
  assert.equal(await gauge('cambist_open_streams'), 2);
  assert.equal(await gauge('cambist_requests_in_flight'), 2);
  one.destroy();
  await eventually('one stream is left', async () => (await gauge('cambist_open_streams')) === 1);
  reader(other);
  stream.end();
  await eventually('no stream is left', async () => (await gauge('cambist_open_streams')) === 0);
  assert.equal(await gauge('cambist_requests_in_flight'), 0);
});
