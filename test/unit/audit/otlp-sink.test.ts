import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createOtlpSink } from '../../../src/audit/otlp-sink.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { startOtlpReceiver } from '../../harness/otlp-receiver.ts';

const RECORD = { kind: 'audit', event: 'request', time: '2026-11-27T10:00:00.125Z', request_id: 'r-1' };

/** A sink for a collector. The exporter reads its endpoint when it is made. */
function sinkFor(t: TestContext, url: string) {
  const variables = { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_TIMEOUT: '1000' };
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  const sink = createOtlpSink('1.2.3');
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  t.after(() => sink.close());
  return sink;
}

test('sends each line as one log record, with its event, and reports all bytes as taken', async (t) => {
  const receiver = await startOtlpReceiver();
  t.after(receiver.close);
  const sink = sinkFor(t, receiver.url);
  await sink.open();
  const records = [RECORD, { ...RECORD, event: 'exchange' }].map((record) => JSON.stringify(record));
  const lines = Buffer.from(`${records.join('\n')}\n`);
  assert.equal(await sink.send(lines), lines.length);
  assert.deepEqual(
    receiver.logs.map(({ event, body }) => [event, body]),
    [
      ['cambist.audit.request', records[0]],
      ['cambist.audit.exchange', records[1]],
    ],
  );
  for (const { resource } of receiver.logs) assert.equal(resource['service.version'], '1.2.3');
});

test('rejects records that the collector refuses, and takes them later', async (t) => {
  let status = 400;
  const server = await startHttpServer((request, response) => {
    request.resume();
    request.once('end', () => response.writeHead(status, { 'content-type': 'application/x-protobuf' }).end());
  });
  t.after(server.close);
  const sink = sinkFor(t, server.url);
  const lines = Buffer.from(`${JSON.stringify(RECORD)}\n`);
  await assert.rejects(Promise.resolve(sink.send(lines)));
  status = 200;
  assert.equal(await sink.send(lines), lines.length);
});

test('closes while a collector is silent', async (t) => {
  const server = await startHttpServer(() => {});
  t.after(server.close);
  const sink = sinkFor(t, server.url);
  const sent = Promise.resolve(sink.send(Buffer.from(`${JSON.stringify(RECORD)}\n`))).catch(() => 'failed');
  await sink.close();
  assert.equal(await sent, 'failed');
});
