import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { open } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

/** Collects the text of a response as it arrives. */
function reader(response: IncomingMessage) {
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  response.on('error', () => {});
  return { text: () => text, until: (wanted: string) => eventually(wanted, () => text.endsWith(wanted)) };
}

test('relays the headers of a stream before its first event, and each event when it is sent', async (t) => {
  const stream = eventStream({ 'x-accel-buffering': 'no' });
  const { app, authorization } = await startGateway(t, { handler: stream.handler });
  const headers = { authorization, accept: 'text/event-stream' };
  const response = await soon('the headers of the stream', open(`${app.url}/github`, { headers }));
  assert.equal(response.statusCode, 200);
  assert.equal(response.headers['content-type'], 'text/event-stream');
  assert.equal(response.headers['x-accel-buffering'], 'no');
  const { text, until } = reader(response);
  assert.equal(text(), '');
  for (const [data, all] of [
    ['one', 'data: one\n\n'],
    ['two', 'data: one\n\ndata: two\n\n'],
  ] as const) {
    stream.emit(data);
    await until(all);
  }
  stream.end();
  await eventually('the stream is complete', () => response.complete);
  assert.equal(text(), 'data: one\n\ndata: two\n\n');
});

test('relays comments, ids, retry lines and split characters unchanged', async (t) => {
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
  const response = await open(`${app.url}/plain`);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  assert.ok(Buffer.concat(chunks).equals(Buffer.concat(parts.map((part) => Buffer.from(part)))));
});

test('relays a stream in response to a POST, and forwards Last-Event-ID', async (t) => {
  const stream = eventStream();
  const { app, upstream } = await startPlainGateway(t, { handler: stream.handler });
  const response = await open(`${app.url}/plain`, { body: '{}', headers: { 'last-event-id': '7' } });
  const { until } = reader(response);
  stream.emit('progress');
  await until('data: progress\n\n');
  assert.equal(upstream.requests[0]?.headers['last-event-id'], '7');
  response.destroy();
});

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
  reader(other);
  stream.end();
  await eventually('no stream is left', async () => (await gauge('cambist_open_streams')) === 0);
  assert.equal(await gauge('cambist_requests_in_flight'), 0);
});
