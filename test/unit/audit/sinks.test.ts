import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { appendFileSync, readFileSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createOtlpSink } from '../../../src/audit/otlp-sink.ts';
import { createFileSink, createStdoutSink } from '../../../src/audit/sinks.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { eventually } from '../../harness/eventually.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { startOtlpReceiver } from '../../harness/otlp-receiver.ts';

const lines = (text: string): Buffer => Buffer.from(`${text}\n`);

/** A destination that is a file. */
function startSink(t: TestContext) {
  const path = join(temporaryFolder(t), 'audit.jsonl');
  const sink = createFileSink(path);
  t.after(() => sink.close());
  return { path, sink };
}

test('appends to a file', async (t) => {
  const { path, sink } = startSink(t);
  appendFileSync(path, 'before\n');
  assert.equal(await sink.send(lines('after')), 6);
  assert.equal(readFileSync(path, 'utf8'), 'before\nafter\n');
});

test('creates a file without permissions for others', (t) => {
  const { path, sink } = startSink(t);
  sink.open();
  assert.equal(statSync(path).mode & 0o027, 0);
});

test('notices a rotated file without a signal', async (t) => {
  const { path, sink } = startSink(t);
  await sink.send(lines('one'));
  renameSync(path, `${path}.1`);
  await eventually('the new file has a record', async () => {
    await sink.send(lines('two'));
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  });
  assert.match(readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8'), /^one\n(?:two\n)+$/);
});

test('continues at the end of a truncated file', async (t) => {
  const { path, sink } = startSink(t);
  await sink.send(lines('one'));
  truncateSync(path);
  await sink.send(lines('two'));
  assert.equal(readFileSync(path, 'utf8'), 'two\n');
});

/** The first writes take this many bytes, as onto a disk that has little room. */
function writeInPart(t: TestContext, ...sizes: number[]): void {
  const { writeSync } = fs;
  const partly = (fd: number, bytes: Buffer): number => writeSync(fd, bytes.subarray(0, sizes.shift()));
  const mocked = t.mock.method(fs, 'writeSync', partly as typeof fs.writeSync);
  syncBuiltinESMExports();
  t.after(() => {
    mocked.mock.restore();
    syncBuiltinESMExports();
  });
}

test('leaves only whole records on a disk that has room for a part of the next one', async (t) => {
  const { path, sink } = startSink(t);
  writeInPart(t, 9, 3);
  const records = Buffer.from('one\nhalf-written\n');
  assert.equal(await sink.send(records), 4);
  assert.equal(readFileSync(path, 'utf8'), 'one\n');
  assert.throws(() => void sink.send(records.subarray(4)), { code: 'ENOSPC' });
  assert.equal(readFileSync(path, 'utf8'), 'one\n');
  rmSync(path);
  sink.reopen();
  assert.equal(await sink.send(records.subarray(4)), 13);
  assert.equal(readFileSync(path, 'utf8'), 'half-written\n');
});

test('fails for a full disk and for a named pipe without a reader', async (t) => {
  const full = createFileSink('/dev/full');
  t.after(() => full.close());
  full.open();
  assert.throws(() => void full.send(lines('lost')), { code: 'ENOSPC' });
  const pipe = join(temporaryFolder(t), 'pipe');
  execFileSync('mkfifo', [pipe]);
  assert.throws(() => createFileSink(pipe).open(), { code: 'ENXIO' });
});

test('writes records between the lines of the log', async () => {
  const written: string[] = [];
  const logger = createLogger('info', { write: (text: string) => void written.push(text) });
  const sink = createStdoutSink(logger);
  logger.info('before');
  assert.equal(await sink.send(lines('{"kind":"audit"}')), 17);
  assert.match(written.join(''), /"msg":"before"\}\n\{"kind":"audit"\}\n$/);
});

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
  const receiver = await startOtlpReceiver(t);
  const sink = sinkFor(t, receiver.url);
  const records = [RECORD, { ...RECORD, event: 'exchange' }].map((record) => JSON.stringify(record));
  const sent = lines(records.join('\n'));
  assert.equal(await sink.send(sent), sent.length);
  assert.deepEqual(
    receiver.logs.map(({ body }) => body),
    records,
  );
  assert.equal(receiver.logs.map(({ event }) => event).join(), 'cambist.audit.request,cambist.audit.exchange');
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
  const record = lines(JSON.stringify(RECORD));
  await assert.rejects(Promise.resolve(sink.send(record)));
  status = 200;
  assert.equal(await sink.send(record), record.length);
});

test('closes while a collector is silent', async (t) => {
  const server = await startHttpServer(() => {});
  t.after(server.close);
  const sink = sinkFor(t, server.url);
  const sent = Promise.resolve(sink.send(lines(JSON.stringify(RECORD)))).catch(() => 'failed');
  await sink.close();
  assert.equal(await sent, 'failed');
});
