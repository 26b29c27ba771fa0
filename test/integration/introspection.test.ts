import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { sendResponse } from '../harness/faults.ts';
import { call } from '../harness/http-call.ts';
import { echoOrStayOpen, lastHandle, openHandleOf } from '../harness/inbound.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { echo } from '../harness/upstream-handlers.ts';

const OPAQUE = 'opaque-caller-token-1';
const SECRET = 'introspection-client-secret';

/** cambist with callers whose tokens are opaque, on both sides of an agent. */
async function start(t: TestContext) {
  process.env.CAMBIST_TEST_INTROSPECTION = SECRET;
  const state = { response: {} as Record<string, unknown>, written: undefined as string | undefined, asked: 0 };
  const authorizationServer = await startFakeAuthorizationServer({
    respond(url: URL, request: IncomingMessage, response: ServerResponse) {
      if (url.pathname !== '/introspect') return false;
      void text(request).then((form) => {
        state.asked += 1;
        const isKnown = new URLSearchParams(form).get('token')?.startsWith(OPAQUE) === true;
        sendResponse(response, 200, isKnown ? (state.written ?? state.response) : { active: false });
      });
      return true;
    },
  });
  t.after(authorizationServer.close);
  const { issuer } = authorizationServer;
  const exp = Math.floor(Date.now() / 1000) + 300;
  state.response = { active: true, iss: issuer, sub: 'alice', aud: ['cambist', 'agent'], exp };
  authorizationServer.behaviour = { kind: 'issue', subject: 'alice' };
  const agent = await startFakeUpstream(echoOrStayOpen);
  t.after(agent.close);
  const backend = await startFakeUpstream(echo);
  t.after(backend.close);
  const introspection = { endpoint: `${issuer}/introspect`, cache: '1s' };
  const app = await startTestApp(t, {
    authorization_servers: {
      local: {
        issuer,
        token_endpoint: authorizationServer.tokenEndpoint,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_post', client_secret: { env: 'CAMBIST_TEST_INTROSPECTION' } },
      },
    },
    inbound: {
      listen: '127.0.0.1:0',
      agent: agent.url,
      verify: { issuer, audience: 'agent', introspection },
      claims: { 'x-user-id': 'sub' },
      allow_raw_tokens: true,
    },
    routes: [
      {
        name: 'tools',
        match: { path: '/tools' },
        upstream: `${backend.url}/mcp`,
        subject_token: { verify: { issuer, audience: 'cambist', introspection } },
      },
      { name: 'plain', match: { path: '/plain' }, upstream: `${backend.url}/mcp` },
    ],
  });
  return { app, state, authorizationServer, agent, backend };
}

const headers = { authorization: `Bearer ${OPAQUE}` };

test('serves an opaque caller while its token is active, and refuses it within the cache time after', async (t) => {
  const { app, state, authorizationServer, backend } = await start(t);
  const first = await call(`${app.url}/tools`, { headers });
  assert.equal(first.status, 200);
  assert.equal((await call(`${app.url}/tools`, { headers })).status, 200);
  assert.equal(state.asked, 1);
  assert.equal(authorizationServer.requests[0]?.form.get('subject_token'), OPAQUE);
  state.response = { active: false };
  await eventually('the refusal', async () => (await call(`${app.url}/tools`, { headers })).status === 401, 30_000);
  assert.ok(backend.requests.every(({ authorization }) => !authorization.join().includes(OPAQUE)));
  const metrics = await app.metrics();
  assert.equal(
    sumSamples(metrics, 'cambist_introspections_total', { authorization_server: 'local', result: 'refused' }),
    1,
  );
  assert.ok(!app.logText().includes(OPAQUE));
  assert.ok(!app.logText().includes(SECRET));
});

test('gives the agent a handle and the claims of an opaque caller', async (t) => {
  const { app, agent, state } = await start(t);
  const userId = async () => {
    assert.equal((await call(app.inbound ?? '', { headers })).status, 200);
    return agent.requests.at(-1)?.headers['x-user-id'];
  };
  assert.equal(await userId(), 'alice');
  state.response.sub = 'alice-renamed';
  await eventually('the new claims', async () => (await userId()) === 'alice-renamed', 30_000);
  const given = new Set(agent.requests.map(({ authorization: [value = ''] }) => value));
  assert.match([...given].join(), /^Bearer cbh_[\w-]{43}$/);
});

test('removes the handle of a caller whose token is no longer active, also while its request is in flight', async (t) => {
  const { app, agent, backend, state } = await start(t);
  const url = app.inbound ?? '';
  const { handle } = await openHandleOf(t, { url, agent }, OPAQUE);
  const use = async () => (await call(`${app.url}/plain`, { headers: { authorization: `Bearer ${handle}` } })).status;
  assert.equal(await use(), 200);
  const { response } = state;
  state.response = { active: false };
  await eventually('the refusal', async () => (await call(url, { headers })).status === 401, 30_000);
  assert.equal(await use(), 401);
  assert.equal(backend.requests.length, 1);
  assert.equal(sumSamples(await app.metrics(), 'cambist_inbound_handle_removals_total', { reason: 'revoked' }), 1);
  state.response = response;
  await eventually('the handle', async () => (await call(url, { headers })).status === 200, 30_000);
  assert.equal(lastHandle({ agent }), handle);
});

test('refuses an opaque caller of the agent without a stated expiry', async (t) => {
  const { app, state } = await start(t);
  delete state.response.exp;
  assert.equal((await call(app.inbound ?? '', { headers })).status, 401);
});

test('returns 503 while the introspection endpoint fails, and forwards nothing', async (t) => {
  const { app, authorizationServer, backend } = await start(t);
  await authorizationServer.close();
  const response = await call(`${app.url}/tools`, { headers });
  assert.equal(response.status, 503);
  assert.equal(backend.requests.length, 0);
});

test('accepts or refuses a caller by any introspection response, and never fails unexpectedly', async (t) => {
  const { app, state } = await start(t);
  const valid = JSON.stringify(state.response).slice(0, -1);
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  const values = [deep, '1e306', '-1', 'null', '{"toString":1,"toJSON":1}', '"a\\r\\n\\u0000\\ud800"'];
  // The second of two members with one name counts.
  const bodies = [...Object.keys(state.response), 'iat', 'sid', 'cnf', 'scope', '__proto__'].flatMap((claim) =>
    values.map((value) => `${valid},"${claim}":${value}}`),
  );
  for (const [index, body] of [...bodies, deep, ''].entries()) {
    state.written = body;
    for (const url of [`${app.url}/tools`, app.inbound ?? '']) {
      const { status } = await call(url, { headers: { authorization: `Bearer ${OPAQUE}-${index}` } });
      assert.ok([200, 401, 502].includes(status), `${status}: ${body.slice(0, 200)}`);
    }
  }
});
