import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';

const WARNING = /also valid at other audiences/;

/** A gateway whose authorization server issues tokens with this `aud`. */
async function start(t: TestContext, audience: string[], expectAudience?: unknown) {
  const route = { audience: 'github', ...(expectAudience !== undefined && { expect_audience: expectAudience }) };
  const gateway = await startGateway(t, { route });
  const { app, authorizationServer, authorization } = gateway;
  authorizationServer.behaviour = { kind: 'issue', audience };
  const send = (session: string) =>
    call(`${app.url}/github`, { headers: { authorization, 'mcp-session-id': session } });
  const warnings = () => app.logs.filter(({ msg }) => WARNING.test(String(msg)));
  return { ...gateway, send, warnings };
}

test('forwards a token that is also valid elsewhere, and warns once for each route', async (t) => {
  const { send, warnings } = await start(t, ['github', 'docs']);
  for (const session of ['one', 'two']) assert.equal((await send(session)).status, 200);
  const [warning, ...more] = warnings();
  assert.deepEqual([warning?.route, warning?.authorization_server, warning?.level], ['github', 'local', 'warn']);
  assert.deepEqual(more, []);
});

test('does not warn about a token for the backend alone', async (t) => {
  const { send, warnings } = await start(t, ['github']);
  assert.equal((await send('one')).status, 200);
  assert.deepEqual(warnings(), []);
});

test('refuses a token that is also valid elsewhere if expect_audience.only is set', async (t) => {
  const { send, upstream, app } = await start(t, ['github', 'docs'], { only: 'github' });
  assertProblem(await send('one'), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /expect_audience\.only/);
});

test('forwards a token for the backend alone if expect_audience.only is set', async (t) => {
  const { send } = await start(t, ['github'], { only: 'github' });
  assert.equal((await send('one')).status, 200);
});
