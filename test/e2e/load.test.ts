import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SETUP_ROUTE, startFakeSetup } from '../harness/fake-setup.ts';
import { respond } from '../harness/upstream-handlers.ts';

const REQUESTS = 500;
const MAX_RESIDENT_BYTES = 150 * 1024 * 1024;

test('serves 500 cached requests with one exchange and within 150 MiB', async (t) => {
  const setup = await startFakeSetup({ change: (config) => ({ ...config, log: { level: 'info' } }) });
  t.after(setup.close);
  setup.upstream.handler = respond(200, '{"jsonrpc":"2.0","id":1,"result":{}}');
  const headers = { ...(await setup.bearer()), 'content-type': 'application/json', 'mcp-session-id': 'one' };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', padding: 'x'.repeat(1_000) });
  for (let count = 0; count < REQUESTS; count += 1) {
    const response = await fetch(`${setup.cambist.url}/${SETUP_ROUTE}`, { method: 'POST', headers, body });
    assert.equal(response.status, 200);
    await response.arrayBuffer();
  }
  assert.equal(setup.authorizationServer.requests.length, 1);
  assert.equal(setup.upstream.requests.length, REQUESTS);
  const hits = await setup.cambist.metric('cambist_cache_requests_total', { route: SETUP_ROUTE, result: 'hit' });
  assert.equal(hits, REQUESTS - 1);
  const residentBytes = await setup.cambist.metric('process_resident_memory_bytes');
  assert.ok(residentBytes < MAX_RESIDENT_BYTES, `${Math.round(residentBytes / 1024 / 1024)} MiB resident`);
});
