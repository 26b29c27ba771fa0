import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { StatusReport } from '../../src/admin/status-report.ts';
import type { AuditRecord } from '../../src/audit/record-schema.ts';
import { parseRecords, readRecords, recordsOf } from '../harness/audit-records.ts';
import { eventually } from '../harness/eventually.ts';
import { type FakeSetup, type FakeSetupOptions, startFakeSetup } from '../harness/fake-setup.ts';
import { echo, eventStream } from '../harness/fake-upstream.ts';
import { assertProblem } from '../harness/http-call.ts';
import { startOtlpReceiver } from '../harness/otlp-receiver.ts';

const TOOL_CALL = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'search' } });

function startAudited(t: TestContext, audit: Record<string, unknown>, options: FakeSetupOptions = {}) {
  return startFakeSetup(t, { ...options, change: (config) => ({ ...config, audit }) });
}

const fileOf = ({ cambist }: FakeSetup): string => join(cambist.directory, 'audit.jsonl');

function idsOf(records: readonly AuditRecord[]): string[] {
  return recordsOf('request', records).map((record) => record.request_id);
}

/** Enough for every caller to have been answered. */
const ANSWERS_BEFORE_SIGNAL = 24;

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`loses no record of an answered request at ${signal}`, async (t) => {
    const setup = await startAudited(t, { to: { file: 'audit.jsonl' } });
    const stream = eventStream();
    setup.upstream.handler = (request, response) =>
      (request.url === '/mcp/stream' ? stream.handler : echo)(request, response);
    const headers = await setup.bearer();
    const open = await setup.open({ path: '/tools/stream', headers: { ...headers, 'x-request-id': 'stream' } });
    open.on('error', () => {}).resume();
    const answered: string[] = [];
    const callUntilGone = async (): Promise<void> => {
      for (;;) {
        const response = await setup.call({ headers, body: TOOL_CALL }).catch(() => undefined);
        if (response === undefined) return;
        answered.push(response.requestId);
        // At once, because a record that is written a little later would be lost only now.
        if (answered.length === ANSWERS_BEFORE_SIGNAL) setup.cambist.signal(signal);
      }
    };
    const callers = Array.from({ length: 8 }, callUntilGone);
    if (signal === 'SIGTERM') {
      await setup.cambist.waitForLog(({ msg }) => msg === 'cambist is shutting down');
      stream.end();
      answered.push('stream');
    }
    const { code } = await setup.cambist.exit;
    await Promise.all(callers);
    assert.equal(code, signal === 'SIGTERM' ? 0 : null);
    const text = readFileSync(fileOf(setup), 'utf8');
    // A record is written whole or not at all.
    assert.ok(text.endsWith('\n'));
    const recorded = new Set(idsOf(parseRecords(text)));
    assert.deepEqual(
      answered.filter((id) => !recorded.has(id)),
      [],
    );
  });
}

test('continues in a new file at SIGHUP', async (t) => {
  const setup = await startAudited(t, { to: { file: 'audit.jsonl' } });
  const headers = await setup.bearer();
  const before = await setup.call({ headers });
  const file = fileOf(setup);
  await eventually('the request is recorded', () => idsOf(readRecords(file)).includes(before.requestId));
  renameSync(file, `${file}.1`);
  setup.cambist.signal('SIGHUP');
  await setup.cambist.waitForLog(({ msg }) => msg === 'config reloaded');
  const after = await setup.call({ headers });
  await eventually('the next request is recorded', () => idsOf(readRecords(file)).includes(after.requestId));
  assert.deepEqual(idsOf(readRecords(`${file}.1`)), [before.requestId]);
  assert.deepEqual(idsOf(readRecords(file)), [after.requestId]);
});

test('refuses requests while the reader of its named pipe is away, and serves again when it is back', async (t) => {
  const setup = await startFakeSetup(t, {
    change(config, { directory }) {
      execFileSync('mkfifo', [join(directory, 'audit.pipe')]);
      return { ...config, audit: { to: { file: 'audit.pipe' }, on_full: 'refuse' } };
    },
    ready: false,
  });
  const headers = await setup.bearer();
  assertProblem(await setup.call({ headers }), 'ERR_AUDIT_UNAVAILABLE');
  assert.equal(await setup.cambist.metric('cambist_audit_writable'), 0);
  const received: string[] = [];
  const reader = createReadStream(join(setup.cambist.directory, 'audit.pipe'), 'utf8');
  reader.on('data', (text) => received.push(String(text)));
  t.after(() => reader.destroy());
  await setup.cambist.ready();
  const { status, requestId } = await setup.call({ headers });
  assert.equal(status, 200);
  await eventually('the record has arrived', () => idsOf(parseRecords(received.join(''))).includes(requestId));
  assert.deepEqual(idsOf(parseRecords(received.join(''))), [requestId]);
});

test('serves requests and counts dropped records on a full disk, if audit.on_full is drop', async (t) => {
  const setup = await startAudited(t, { to: { file: '/dev/full' } });
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  await setup.cambist.waitForLog(({ msg }) => String(msg).startsWith('audit records cannot be written; keeping'));
  assert.equal(await setup.cambist.metric('cambist_audit_writable'), 0);
  const status = (await (await fetch(`${setup.cambist.adminUrl}/status.json`)).json()) as StatusReport;
  assert.equal(status.audit?.writable, false);
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
});

test('sends records as OpenTelemetry logs', async (t) => {
  const receiver = await startOtlpReceiver(t);
  const env = { OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: `${receiver.url}/v1/logs`, OTEL_SERVICE_NAME: 'my-agent' };
  const setup = await startAudited(t, { to: 'otlp' }, { env });
  const { requestId } = await setup.call({ headers: await setup.bearer(), body: TOOL_CALL });
  await eventually('both records have arrived', () => receiver.logs.length === 2);
  const records = parseRecords(receiver.logs.map(({ body }) => String(body)).join('\n'));
  assert.deepEqual(idsOf(records), [requestId]);
  for (const { event, resource } of receiver.logs) {
    assert.match(event, /^cambist\.audit\.(?:request|exchange)$/);
    assert.equal(resource['service.name'], 'my-agent');
  }
  assert.equal(receiver.spans.length, 0);
});
