import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { startApp } from '../../../src/app.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import type { Attributes, Span } from '../../../src/observability/tracing.ts';
import { configOf } from '../../harness/app.ts';
import { readRecords, recordsOf } from '../../harness/audit-records.ts';
import { lastHandle, openHandle, openHandleOf, startInboundGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

test('the audit trail names the verified caller of the agent, and of each call that uses its handle', async (t) => {
  const file = join(temporaryFolder(t), 'audit.jsonl');
  const gateway = await startInboundGateway(t, { top: { audit: { to: { file } } } });
  const token = await gateway.mint({ subject: 'alice' });
  await call(gateway.url, { headers: { authorization: `Bearer ${token}`, 'x-request-id': 'inbound' } });
  const { handle, close } = await openHandleOf(t, gateway, token);
  const authorization = `Bearer ${handle}`;
  await call(`${gateway.app.url}/github`, { headers: { authorization, 'x-request-id': 'outbound' } });
  await call(gateway.url, { headers: { 'x-request-id': 'refused' } });
  close();
  await gateway.app.stop();
  const records = readRecords(file);
  const shown = ['inbound', 'outbound', 'refused'].map((id) => {
    const record = recordsOf('request', records).find(({ request_id }) => request_id === id);
    return [record?.route, record?.decision, record?.subject?.verified, record?.subject?.claims.sub];
  });
  assert.deepEqual(shown, [
    ['_inbound', 'forwarded', true, 'alice'],
    ['github', 'forwarded', true, 'alice'],
    ['_inbound', 'refused', undefined, undefined],
  ]);
  for (const secret of [token, 'cbh_']) assert.ok(!JSON.stringify(records).includes(secret));
});

test('a request of a caller has a span, which the agent gets as its parent', async (t) => {
  const gateway = await startInboundGateway(t);
  const ended: { name: string; attributes: Attributes }[] = [];
  const span = (name: string): Span => {
    const seen = { name, attributes: {} };
    return {
      traceId: '0af7651916cd43dd8448eb211c80319c',
      child: (child) => span(`${child} to the agent`),
      headers: () => ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      rename(next) {
        seen.name = next;
      },
      set: (attributes) => Object.assign(seen.attributes, attributes),
      end: (attributes) => void ended.push({ ...seen, attributes: { ...seen.attributes, ...attributes } }),
    };
  };
  const tracing = { beginRequest: span, shutdown: async () => {} };
  const logger = createLogger('silent', { write: () => {} });
  const app = await startApp(configOf(gateway.config), 'test', logger, tracing);
  t.after(() => app.stop());
  const headers = { authorization: `Bearer ${await gateway.mint()}`, tracestate: `v=cbh_${'a'.repeat(43)}` };
  await call(app.inbound ?? '', { headers });
  await app.stop();
  assert.deepEqual(
    ended.map(({ name }) => name),
    ['GET to the agent', 'GET /'],
  );
  assert.equal(ended[1]?.attributes['cambist.route'], '_inbound');
  assert.equal(ended[1]?.attributes['http.response.status_code'], 200);
  assert.match(gateway.agent.requests[0]?.headers.traceparent?.toString() ?? '', /-b7ad6b7169203331-01$/);
  assert.ok(!JSON.stringify(ended).includes('cbh_'));
});

test('the status report has the requests of callers, handles, and refused uses of them', async (t) => {
  const gateway = await startInboundGateway(t);
  await openHandle(t, gateway);
  await call(gateway.url, { headers: { authorization: `Bearer ${await gateway.mint()}` } });
  const authorization = `Bearer ${lastHandle(gateway)}`;
  await call(`${gateway.app.url}/github`, { headers: { authorization } });
  await call(gateway.url);
  const { inbound, failures } = await gateway.app.status();
  assert.equal(inbound?.agent, gateway.agent.url);
  assert.equal(inbound?.state, 'ok');
  assert.deepEqual([inbound?.requests, inbound?.refused, inbound?.failed, inbound?.in_flight], [3, 1, 0, 1]);
  assert.equal(inbound?.recent.requests, 3);
  assert.ok(inbound?.recent.p50_ms !== undefined);
  assert.deepEqual(inbound?.handles, { entries: 2, max_entries: 10_000 });
  assert.deepEqual(inbound?.detached, { refused: 1, allowed: 0 });
  const known = failures.map(({ route, error }) => `${route} ${error}`);
  assert.deepEqual(known, ['_inbound ERR_SUBJECT_TOKEN_MISSING', 'github ERR_HANDLE_INVALID']);
  const page = await call(gateway.app.admin, { headers: { accept: 'text/html' } });
  assert.match(page.text, /Callers of the agent/);
  assert.match(page.text, /1 refused<\/span>, 0 allowed/);
  assert.ok(!page.text.includes('cbh_'));
});

test('the status page says why callers do not reach the agent', async (t) => {
  const closed = await startHttpServer(() => {});
  await closed.close();
  const gateway = await startInboundGateway(t, { inbound: { agent: closed.url } });
  const headers = { authorization: `Bearer ${await gateway.mint()}` };
  for (let i = 0; i < 3; i += 1) assert.equal((await call(gateway.url, { headers })).status, 502);
  const { text } = await call(gateway.app.admin, { headers: { accept: 'text/html' } });
  assert.match(text, /ready, but one problem/);
  assert.match(
    text,
    /3 of the last 3 requests of callers failed, the last with <code>ERR_UPSTREAM_UNREACHABLE<\/code>/,
  );
});
