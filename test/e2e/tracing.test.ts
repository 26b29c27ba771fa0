import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { type FakeSetup, startFakeSetup } from '../harness/fake-setup.ts';
import { refuseBearer } from '../harness/fake-upstream.ts';
import { startHttpServer } from '../harness/http-server.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../harness/otlp-receiver.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const CALLER_SPAN_ID = 'b7ad6b7169203331';
const traceparent = `00-${TRACE_ID}-${CALLER_SPAN_ID}-01`;

async function startTraced(t: TestContext, env: Record<string, string> = {}, keys: Record<string, unknown> = {}) {
  const receiver = await startOtlpReceiver(t);
  const setup = await startFakeSetup(t, {
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_BSP_SCHEDULE_DELAY: '50',
      ...env,
    },
    change: (config) => ({ ...config, ...keys }),
  });
  return { receiver, setup };
}

async function spansOf(receiver: OtlpReceiver, count: number): Promise<readonly ReceivedSpan[]> {
  await eventually(`${count} spans have arrived`, () => receiver.spans.length >= count);
  return receiver.spans;
}

function named(spans: readonly ReceivedSpan[], kind: ReceivedSpan['kind'], name: string): ReceivedSpan {
  return spans.find((span) => span.kind === kind && span.name === name) ?? assert.fail(`no ${kind} span "${name}"`);
}

async function stop({ cambist }: FakeSetup): Promise<void> {
  cambist.signal('SIGTERM');
  await cambist.exit;
}

test('creates nested spans of the request, its exchange and the upstream call in the caller’s trace', async (t) => {
  const { receiver, setup } = await startTraced(t, {
    OTEL_SERVICE_NAME: 'my-agent',
    OTEL_RESOURCE_ATTRIBUTES: 'a.b=c',
  });
  const headers = { ...(await setup.bearer()), traceparent, tracestate: 'vendor=value' };
  const { requestId } = await setup.call({ headers, path: '/tools/x?secret=query', body: '{}' });
  const spans = await spansOf(receiver, 3);
  assert.equal(spans.length, 3);
  const request = named(spans, 'server', 'POST /tools');
  const exchange = named(spans, 'client', 'exchange');
  const upstream = named(spans, 'client', 'POST');
  for (const { traceId, isError } of spans) assert.deepEqual([traceId, isError], [TRACE_ID, false]);
  assert.equal(request.parentSpanId, CALLER_SPAN_ID);
  assert.equal(exchange.parentSpanId, request.spanId);
  assert.equal(upstream.parentSpanId, request.spanId);

  assert.deepEqual(request.attributes, {
    'http.request.method': 'POST',
    'url.scheme': 'http',
    'http.route': '/tools',
    'cambist.route': 'tools',
    'http.response.status_code': 200,
    'cambist.outcome': 'forwarded',
    'cambist.cache': 'miss',
    'cambist.request_id': requestId,
  });
  assert.deepEqual(exchange.attributes, {
    'cambist.route': 'tools',
    'cambist.authorization_server': 'local',
    'cambist.grant': 'token_exchange',
    'cambist.refresh': false,
  });
  assert.deepEqual(upstream.attributes, {
    'http.request.method': 'POST',
    'server.address': '127.0.0.1',
    'server.port': Number(new URL(setup.upstream.url).port),
    'url.scheme': 'http',
    'cambist.route': 'tools',
    'http.response.status_code': 200,
  });
  const { resource } = request;
  assert.deepEqual([resource['service.name'], resource['a.b']], ['my-agent', 'c']);
  assert.match(String(resource['service.version']), /^\d+\.\d+\.\d+/);
  assert.ok(upstream.durationMs >= 0 && request.durationMs >= upstream.durationMs);

  const [received] = setup.upstream.requests;
  assert.equal(received?.headers.traceparent, `00-${TRACE_ID}-${upstream.spanId}-01`);
  assert.equal(received?.headers.tracestate, 'vendor=value');
  const line = await setup.cambist.waitForLog(({ msg }) => msg === 'request');
  assert.equal(line.trace_id, TRACE_ID);
});

test('creates a span for each attempt, with the code of a failure, but no error in the request of a refused caller', async (t) => {
  const { receiver, setup } = await startTraced(t);
  setup.upstream.handler = refuseBearer(() => true);
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  const spans = [...(await spansOf(receiver, 5))];
  const request = named(spans, 'server', 'POST /tools');
  assert.deepEqual(
    [request.isError, request.attributes['error.type'], request.attributes['cambist.error']],
    [true, 'ERR_UPSTREAM_REFUSED_TOKEN', 'ERR_UPSTREAM_REFUSED_TOKEN'],
  );
  const attempts = spans.filter(({ kind, name }) => kind === 'client' && name === 'POST');
  assert.deepEqual(
    attempts.map(({ attributes, isError }) => [
      attributes['http.request.resend_count'],
      attributes['http.response.status_code'],
      isError,
    ]),
    [
      [undefined, 401, true],
      [1, 401, true],
    ],
  );
  assert.equal(spans.filter(({ name }) => name === 'exchange').length, 2);

  setup.authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  const later = (await spansOf(receiver, 7)).slice(5);
  const exchange = named(later, 'client', 'exchange');
  assert.deepEqual([exchange.isError, exchange.attributes['error.type']], [true, 'ERR_SUBJECT_TOKEN_INVALID']);
  const refused = named(later, 'server', 'POST /tools');
  assert.deepEqual([refused.isError, refused.attributes['http.response.status_code']], [false, 401]);
});

test('records no span if the caller did not sample the trace, and forwards this decision', async (t) => {
  const { receiver, setup } = await startTraced(t);
  const unsampled = traceparent.replace(/01$/, '00');
  await setup.call({ headers: { ...(await setup.bearer()), traceparent: unsampled }, body: '{}' });
  assert.match(String(setup.upstream.requests[0]?.headers.traceparent), new RegExp(`^00-${TRACE_ID}-[0-9a-f]{16}-00$`));
  await stop(setup);
  assert.equal(receiver.spans.length, 0);
});

test('starts a trace for a request without one, logs its id, and sends pending spans on exit', async (t) => {
  const { receiver, setup } = await startTraced(t, { OTEL_BSP_SCHEDULE_DELAY: '60000' });
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await stop(setup);
  assert.equal(receiver.spans.length, 3);
  const request = named(receiver.spans, 'server', 'POST /tools');
  assert.equal(request.parentSpanId, '');
  assert.equal(request.resource['service.name'], 'cambist');
  const traced = setup.cambist.logs().filter(({ msg }) => msg === 'exchange' || msg === 'request');
  assert.deepEqual(
    traced.map(({ trace_id }) => trace_id),
    [request.traceId, request.traceId],
  );
});

test('puts no token, query, session or user into a span, and the MCP message if tracing.mcp is on', async (t) => {
  const { receiver, setup } = await startTraced(t, {}, { tracing: { mcp: true } });
  const subject = await setup.subjectToken();
  const headers = {
    authorization: `Bearer ${subject}`,
    'mcp-session-id': 'session-of-somebody',
    'mcp-protocol-version': '2025-11-25',
    traceparent,
    tracestate: `vendor=${subject}`,
  };
  const params = { name: 'search', arguments: { q: 'somebody' } };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  await setup.call({ headers, path: '/tools/of-somebody?user=somebody', body });
  const { attributes } = named(await spansOf(receiver, 3), 'server', 'POST /tools');
  const ofMessage = Object.entries(attributes).filter(([name]) => /^(?:mcp|gen_ai)\./.test(name));
  assert.deepEqual(Object.fromEntries(ofMessage), {
    'mcp.method.name': 'tools/call',
    'gen_ai.tool.name': 'search',
    'gen_ai.operation.name': 'execute_tool',
    'mcp.protocol.version': '2025-11-25',
  });
  await setup.call({ headers, path: `/tools/${subject}`, body: '{}' });
  await spansOf(receiver, 4);
  setup.leaks.assertNoLeak({ spans: receiver.received() });
  assert.doesNotMatch(receiver.received(), /somebody/);
  assert.ok(!('tracestate' in (setup.upstream.requests[0]?.headers ?? {})));
});

test('serves requests while the collector is unreachable, and logs it', async (t) => {
  const { setup } = await startTraced(t, {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
    OTEL_EXPORTER_OTLP_TIMEOUT: '200',
  });
  const { status } = await setup.call({ headers: await setup.bearer(), body: '{}' });
  assert.equal(status, 200);
  const line = await setup.cambist.waitForLog(({ msg }) => msg === 'sending spans failed');
  assert.equal(line.level, 'warn');
});

for (const [collector, listener] of [
  ['never responds', () => {}],
  ['asks for a retry in ten minutes', (_request, response) => response.writeHead(503, { 'retry-after': '600' }).end()],
] as const satisfies [string, RequestListener][]) {
  test(`exits although the collector ${collector}, and logs once that spans are lost`, async (t) => {
    const silent = await startHttpServer(listener);
    t.after(silent.close);
    const { setup } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: silent.url,
      OTEL_EXPORTER_OTLP_TIMEOUT: '3600000',
    });
    await setup.call({ headers: await setup.bearer(), body: '{}' });
    setup.cambist.signal('SIGTERM');
    assert.deepEqual(await soon('the end', setup.cambist.exit), { code: 0, signal: null });
    const lost = setup.cambist.logs().filter(({ msg }) => String(msg).includes('spans'));
    assert.deepEqual(
      lost.map(({ level, msg }) => [level, msg]),
      [['warn', 'last spans lost; sending them failed']],
    );
    assert.equal(setup.cambist.logs().at(-1)?.msg, 'cambist has stopped');
  });
}
