import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { connectMcpClient, type McpClient } from '../harness/mcp-client.ts';
import { type McpSetup, type RouteName, startMcpSetup } from '../harness/mcp-setup.ts';

const ROUTES: RouteName[] = ['github', 'docs'];

interface WhoAmI {
  server: string;
  sub: string;
  aud: string;
}

async function whoAmI(client: McpClient): Promise<WhoAmI> {
  return JSON.parse(await client.callTool('whoami')) as WhoAmI;
}

/** Checks that every backend request has one issued token for this backend, and no token of a caller. */
function assertScoped(setup: McpSetup, callerTokens: readonly string[]) {
  for (const backend of Object.values(setup.backends)) {
    for (const { rawHeaders, authorization, claims } of backend.requests) {
      assert.equal(authorization.length, 1);
      assert.equal(claims?.aud, backend.resource);
      for (const token of callerTokens) assert.ok(!rawHeaders.join('\n').includes(token));
    }
  }
}

test('serves all features of an MCP client with one exchange for each backend', async (t) => {
  const setup = await startMcpSetup();
  t.after(setup.close);
  const token = await setup.subjectToken();
  const headers = { authorization: `Bearer ${token}` };
  for (const route of ROUTES) {
    const client = await connectMcpClient(setup.url(route), { headers });
    const backend = setup.backends[route];
    assert.ok(client.sessionId);
    assert.deepEqual(await client.listTools(), ['whoami', 'echo', 'count', 'announce']);
    assert.equal(await client.callTool('echo', { message: 'grüezi 🙂' }), 'grüezi 🙂');
    assert.deepEqual(await whoAmI(client), {
      ...(await whoAmI(client)),
      server: route,
      sub: 'alice',
      aud: backend.resource,
    });

    const steps: number[] = [];
    assert.equal(await client.callTool('count', { to: 5 }, (step) => steps.push(step)), 'counted to 5');
    assert.deepEqual(steps, [1, 2, 3, 4, 5]);

    await eventually("the session's own stream is open", () =>
      setup.cambist.metric('cambist_open_streams', { route }).then((streams) => streams === 1),
    );
    await client.callTool('announce', { message: 'something happened' });
    await eventually('the notification arrives', () => client.announcements.length === 1);
    assert.deepEqual(client.announcements, ['something happened']);

    assert.equal(backend.openSessions(), 1);
    await client.close();
    assert.equal(backend.openSessions(), 0);
    await eventually('the stream is closed', () =>
      setup.cambist.metric('cambist_open_streams', { route }).then((streams) => streams === 0),
    );
  }
  assert.deepEqual(
    setup.authorizationServer.requests.map(({ resource, error }) => [resource, error]),
    ROUTES.map((route) => [[setup.backends[route].resource], undefined]),
  );
  assert.equal(await setup.cambist.metric('cambist_cache_evictions_total', { reason: 'session_ended' }), 2);
  assert.equal(await setup.cambist.metric('cambist_cache_entries'), 0);
  assertScoped(setup, [token]);
  setup.leaks.assertNoLeak({ stdout: setup.cambist.stdout(), metrics: await setup.cambist.metrics() });
});

test('keeps the tokens of concurrent users apart', async (t) => {
  const setup = await startMcpSetup();
  t.after(setup.close);
  const tokens: string[] = [];
  const users = ['alice', 'bob', 'carol'];
  await Promise.all(
    users.flatMap((sub) =>
      ROUTES.map(async (route) => {
        const token = await setup.subjectToken({ sub });
        tokens.push(token);
        const client = await connectMcpClient(setup.url(route), { headers: { authorization: `Bearer ${token}` } });
        const answers = await Promise.all(Array.from({ length: 10 }, () => whoAmI(client)));
        for (const answer of answers) {
          assert.deepEqual([answer.sub, answer.server, answer.aud], [sub, route, setup.backends[route].resource]);
        }
        await client.close();
      }),
    ),
  );
  assert.equal(setup.authorizationServer.requests.length, users.length * ROUTES.length);
  assertScoped(setup, tokens);
});

test("uses the caller's own token, also with the session id of another user", async (t) => {
  const setup = await startMcpSetup();
  t.after(setup.close);
  const alice = await setup.subjectToken({ sub: 'alice' });
  const mallory = await setup.subjectToken({ sub: 'mallory' });
  const client = await connectMcpClient(setup.url('github'), { headers: { authorization: `Bearer ${alice}` } });
  assert.equal((await whoAmI(client)).sub, 'alice');
  const exchanges = setup.authorizationServer.requests.length;

  const response = await fetch(setup.url('github'), {
    method: 'POST',
    headers: {
      authorization: `Bearer ${mallory}`,
      'mcp-session-id': client.sessionId ?? '',
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'whoami', arguments: {} } }),
  });
  assert.equal(response.status, 200);
  assert.match(await response.text(), /mallory/, 'the backend sees the caller of the request');
  assert.equal(setup.authorizationServer.requests.length, exchanges + 1);
  assert.equal((await whoAmI(client)).sub, 'alice');
  assert.equal(setup.authorizationServer.requests.length, exchanges + 1, 'her token is still cached');

  const missing = await fetch(setup.url('github'), {
    method: 'POST',
    headers: { 'mcp-session-id': client.sessionId ?? '', 'content-type': 'application/json' },
    body: '{}',
  });
  assert.equal(missing.status, 401);
  assert.match(await missing.text(), /ERR_SUBJECT_TOKEN_MISSING/);
  await client.close();
});

test('replaces a token that a backend refuses, invisibly to the client', async (t) => {
  const setup = await startMcpSetup();
  t.after(setup.close);
  const token = await setup.subjectToken();
  const client = await connectMcpClient(setup.url('docs'), { headers: { authorization: `Bearer ${token}` } });
  const revoked = new Set(setup.backends.docs.requests.map(({ claims }) => claims?.jti));
  setup.backends.docs.refuse(({ jti }) => revoked.has(jti));
  assert.equal((await whoAmI(client)).sub, 'alice');
  assert.equal(setup.authorizationServer.requests.length, 2);
  // The session's own stream may have been refused at the same time; the new token is for both.
  assert.ok((await setup.cambist.metric('cambist_upstream_retries_total', { route: 'docs' })) >= 1);
  await client.close();
});
