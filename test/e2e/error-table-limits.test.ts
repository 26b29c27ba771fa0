import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { assertProblemResponse, assertRevealsNothing, provokeProblem } from '../harness/expected-problem.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

test('refuses a request beyond limits.max_in_flight, which includes open streams', async (t) => {
  const stream = eventStream();
  const setup = await startFakeSetup({ change: (config) => ({ ...config, limits: { max_in_flight: 1 } }) });
  t.after(setup.close);
  setup.upstream.handler = stream.handler;
  const headers = await setup.bearer();
  const open = await setup.open({ method: 'GET', headers });
  assert.equal(open.statusCode, 200);
  await provokeProblem(setup, { headers }, { code: 'ERR_OVERLOADED' });
  open.on('error', () => {});
  open.destroy();
  await stream.gone;
  setup.upstream.handler = (_request, response) => void response.end();
  await eventually('requests are accepted again', async () => (await setup.call({ headers })).status === 200);
});

test('refuses a new request while cambist drains, and finishes an open one', async (t) => {
  const stream = eventStream();
  const setup = await startFakeSetup();
  t.after(setup.close);
  setup.upstream.handler = stream.handler;
  const headers = await setup.bearer();
  const open = await setup.open({ method: 'GET', headers });
  assert.equal(open.statusCode, 200);
  setup.cambist.signal('SIGTERM');
  await setup.cambist.waitForLog(({ msg }) => String(msg).startsWith('draining requests in flight'));

  const response = await setup.call({ headers });
  assertProblemResponse(response, { code: 'ERR_SHUTTING_DOWN' });
  assertRevealsNothing(setup, response);
  const line = await setup.cambist.waitForLog(({ request_id }) => request_id === response.requestId);
  assert.deepEqual([line.level, line.status, line.outcome, line.error], ['warn', 503, 'failed', 'ERR_SHUTTING_DOWN']);
  assert.equal(await setup.cambist.metric('cambist_requests_total', { code: '503', outcome: 'failed' }), 1);
  const readiness = await fetch(`${setup.cambist.adminUrl}/readyz`);
  assert.equal(readiness.status, 503);

  let text = '';
  open.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  stream.emit('the end');
  stream.end();
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
  assert.equal(text, 'data: the end\n\n');
});

test('refuses requests while audit records cannot be written, if audit.on_full is refuse', async (t) => {
  const audit = { to: { file: '/dev/full' }, on_full: 'refuse' };
  const setup = await startFakeSetup({ change: (config) => ({ ...config, audit }) });
  t.after(setup.close);
  const headers = await setup.bearer();
  // The destination opens. It fails with the records of the first request.
  await setup.call({ headers });
  await setup.cambist.waitForLog(({ msg }) => msg === 'audit records cannot be written; refusing requests');
  const { length } = setup.upstream.requests;
  await provokeProblem(setup, { headers }, { code: 'ERR_AUDIT_UNAVAILABLE' });
  assert.equal(setup.upstream.requests.length, length);
  assert.equal(await setup.cambist.metric('cambist_audit_writable', {}), 0);
});

test('returns 408 for a body that does not arrive', async (t) => {
  const setup = await startFakeSetup({
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({ ...route, timeouts: { stall: '1s' } })),
    }),
  });
  t.after(setup.close);
  const headers = { ...(await setup.bearer()), 'content-length': '10' };
  await provokeProblem(setup, { headers }, { code: 'ERR_REQUEST_TIMEOUT' });
});

test('returns 413 for a message that is too large to be read for its route', async (t) => {
  const setup = await startFakeSetup({
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({
        ...route,
        match: { path: '/tools', mcp_method: 'tools/*' },
        retry_body_limit: '1KiB',
      })),
    }),
  });
  t.after(setup.close);
  const headers = await setup.bearer();
  const message = (bytes: number) => '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'.padEnd(bytes, ' ');
  await provokeProblem(setup, { headers, body: message(1025) }, { code: 'ERR_MESSAGE_TOO_LARGE', route: undefined });
  assert.equal((await setup.call({ headers, body: message(1024) })).status, 200);
});

test('returns 400 for a message without the headers that its revision requires', async (t) => {
  const setup = await startFakeSetup({
    change: (config) => ({
      ...config,
      routes: config.routes.map((route) => ({ ...route, match: { path: '/tools', mcp_method: 'tools/*' } })),
    }),
  });
  t.after(setup.close);
  const headers = { ...(await setup.bearer()), 'mcp-protocol-version': '2026-07-28' };
  const body = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
  await provokeProblem(setup, { headers, body }, { code: 'ERR_HEADER_MISMATCH', route: undefined });
  assert.equal((await setup.call({ headers: { ...headers, 'mcp-method': 'tools/list' }, body })).status, 200);
});
