import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../../harness/http-call.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { lastHandle, openHandle, startInboundGateway } from '../../harness/inbound.ts';

interface Report {
  readonly inbound?: {
    readonly agent: string;
    readonly state: string;
    readonly requests: number;
    readonly refused: number;
    readonly failed: number;
    readonly in_flight: number;
    readonly recent: { readonly requests: number; readonly p50_ms?: number };
    readonly handles: { readonly entries: number; readonly max_entries: number };
    readonly detached: { readonly refused: number; readonly allowed: number };
  };
  readonly failures: readonly { readonly route?: string; readonly error: string }[];
}

const statusOf = async (admin: string): Promise<Report> => JSON.parse((await call(`${admin}/status.json`)).text);

test('the status report has the requests of callers, handles, and refused uses of them', async (t) => {
  const gateway = await startInboundGateway(t);
  await openHandle(t, gateway);
  await call(gateway.url, { headers: { authorization: `Bearer ${await gateway.mint()}` } });
  const authorization = `Bearer ${lastHandle(gateway)}`;
  await call(`${gateway.app.url}/github`, { headers: { authorization } });
  await call(gateway.url);
  const { inbound, failures } = await statusOf(gateway.app.admin);
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
