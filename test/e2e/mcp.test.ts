import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AgentClient, SDK_V1 } from '../harness/agent-client.ts';
import { type RouteName, startMcpSetup } from '../harness/mcp-setup.ts';

const ROUTES: RouteName[] = ['github', 'docs'];

async function whoAmI(client: AgentClient): Promise<{ server: string; sub: string; aud: string }> {
  return JSON.parse(await client.call('whoami'));
}

test('exchanges once for each backend of an MCP client, and shows its own token to none', async (t) => {
  const setup = await startMcpSetup(t);
  const token = await setup.subjectToken();
  for (const route of ROUTES) {
    const client = await setup.connect(SDK_V1, route, token);
    const backend = setup.backends[route];
    assert.ok(client.sessionId());
    assert.ok((await client.listTools()).includes('whoami'));
    const { server, sub, aud } = await whoAmI(client);
    assert.deepEqual([server, sub, aud], [route, 'alice', backend.resource]);

    assert.deepEqual(backend.sessionIds(), [client.sessionId()]);
    await client.close();
    assert.deepEqual(backend.sessionIds(), []);
  }
  assert.deepEqual(
    setup.authorizationServer.requests.map(({ resource, error }) => [resource, error]),
    ROUTES.map((route) => [[setup.backends[route].resource], undefined]),
  );
  assert.equal(await setup.cambist.metric('cambist_cache_evictions_total', { reason: 'session_ended' }), 2);
  assert.equal(await setup.cambist.metric('cambist_cache_entries'), 0);
  for (const { requests, resource } of Object.values(setup.backends)) {
    for (const { rawHeaders, authorization, claims } of requests) {
      assert.deepEqual([authorization.length, claims?.aud], [1, resource]);
      assert.ok(!rawHeaders.join('\n').includes(token));
    }
  }
  setup.leaks.assertNoLeak({ stdout: setup.cambist.stdout(), metrics: await setup.cambist.metrics() });
});

test("uses the caller's own token, also with the session id of another user", async (t) => {
  const setup = await startMcpSetup(t);
  const mallory = await setup.subjectToken({ sub: 'mallory' });
  const client = await setup.connect(SDK_V1, 'github');
  assert.equal((await whoAmI(client)).sub, 'alice');
  const exchanges = setup.authorizationServer.requests.length;

  const headers = {
    'mcp-session-id': client.sessionId() ?? '',
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
  };
  const response = await fetch(setup.url('github'), {
    method: 'POST',
    headers: { ...headers, authorization: `Bearer ${mallory}` },
    body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'whoami', arguments: {} } }),
  });
  assert.equal(response.status, 200);
  assert.match(await response.text(), /mallory/, 'the backend sees the caller of the request');
  assert.equal(setup.authorizationServer.requests.length, exchanges + 1);
  assert.equal((await whoAmI(client)).sub, 'alice');
  assert.equal(setup.authorizationServer.requests.length, exchanges + 1, 'her token is still cached');

  const missing = await fetch(setup.url('github'), { method: 'POST', headers, body: '{}' });
  assert.equal(missing.status, 401);
  assert.match(await missing.text(), /ERR_SUBJECT_TOKEN_MISSING/);
});
