import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startApp } from '../../../src/app.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import type { Attributes, Span } from '../../../src/observability/tracing.ts';
import { configOf } from '../../harness/app.ts';
import { call } from '../../harness/http-call.ts';
import { openHandleOf, startInboundGateway } from '../../harness/inbound.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';

interface AuditRecord {
  readonly event: string;
  readonly route?: string;
  readonly decision?: string;
  readonly request_id?: string;
  readonly subject?: { readonly verified: boolean; readonly from: string; readonly claims: { readonly sub?: string } };
}

test('the audit trail names the verified caller of the agent, and of each call that uses its handle', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'audit.jsonl');
  const gateway = await startInboundGateway(t, { top: { audit: { to: { file } } } });
  const token = await gateway.mint({ subject: 'alice' });
  await call(gateway.url, { headers: { authorization: `Bearer ${token}`, 'x-request-id': 'inbound' } });
  const { handle, close } = await openHandleOf(t, gateway, token);
  const authorization = `Bearer ${handle}`;
  await call(`${gateway.app.url}/github`, { headers: { authorization, 'x-request-id': 'outbound' } });
  await call(gateway.url, { headers: { 'x-request-id': 'refused' } });
  close();
  await gateway.app.stop();
  const text = await readFile(file, 'utf8');
  const lines = text.trim().split('\n');
  const records = lines.map((line) => JSON.parse(line) as AuditRecord).filter(({ event }) => event === 'request');
  const recordOf = (id: string) => records.find(({ request_id }) => request_id === id);
  for (const [id, route] of [
    ['inbound', '_inbound'],
    ['outbound', 'github'],
  ] as const) {
    const record = recordOf(id);
    assert.equal(record?.route, route);
    assert.equal(record?.subject?.claims.sub, 'alice');
    assert.equal(record?.subject?.verified, true);
  }
  assert.equal(recordOf('refused')?.decision, 'refused');
  assert.equal(recordOf('refused')?.subject, undefined);
  for (const secret of [token, 'cbh_']) assert.ok(!text.includes(secret));
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
