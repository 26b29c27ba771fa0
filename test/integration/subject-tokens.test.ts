import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { routeTo } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import {
  type MetadataBehaviour,
  sendResponse,
  startFakeAuthorizationServer,
} from '../harness/fake-authorization-server.ts';
import { skippedTime } from '../harness/fake-clock.ts';
import { clientOf, lastHandle, openHandleOf, startGateway, startInboundGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

/** A gateway whose route verifies subject tokens of another issuer. */
async function startVerifying(t: TestContext, metadataBehaviour: MetadataBehaviour = { kind: 'document' }) {
  const issuer = await startFakeAuthorizationServer(t);
  issuer.metadataBehaviour = metadataBehaviour;
  const verify = { issuer: issuer.issuer };
  const gateway = await startGateway(t, { route: { subject_token: { verify } } });
  const send = (token: string) => gateway.send({ authorization: `Bearer ${token}` }, '{}');
  return { ...gateway, issuer, send };
}

test('exchanges a token that its issuer signed for cambist, and sends no other token to the server', async (t) => {
  const { authorizationServer, upstream, issuer, send, app } = await startVerifying(t);
  for (const token of [
    await authorizationServer.mint(),
    await issuer.mint({ audience: 'another' }),
    await issuer.mint({ ttlSeconds: -60 }),
    await issuer.mint({ claims: { nbf: Math.floor(Date.now() / 1000) + 60 } }),
    `${(await issuer.mint()).slice(0, -4)}AAAA`,
    'opaque-token-of-the-caller',
  ]) {
    const response = await send(token);
    assertProblem(response, 'ERR_SUBJECT_TOKEN_INVALID');
    assert.match(String(response.headers['www-authenticate']), /^Bearer error="invalid_token"/);
    assert.ok(!app.logText().includes(token));
  }
  assert.equal(authorizationServer.requests.length, 0);
  assert.equal((await send(await issuer.mint())).status, 200);
  assert.equal(upstream.requests.length, 1);
});

const CHECK = 'routes.github.subject_token.verify';

test('refuses callers and is not ready until it has fetched the keys of the issuer once', async (t) => {
  const { app, authorizationServer, issuer, send } = await startVerifying(t, { kind: 'response', status: 500 });
  const readiness = async () => {
    const { status, checks } = await app.readiness();
    return { status, check: checks[CHECK] };
  };
  await eventually('the attempt has failed', async () => (await readiness()).check !== 'waiting');
  assert.deepEqual(await readiness(), { status: 503, check: 'ERR_STS_UNAVAILABLE' });
  assert.equal(await app.metric('cambist_readiness_check', { check: CHECK }), 0);
  const { err } = app.logs.find(({ msg, check }) => msg === 'not ready' && check === CHECK) ?? {};
  assert.match(JSON.stringify(err), /its metadata at http.* returned status 500/);
  const response = await send(await issuer.mint());
  assertProblem(response, 'ERR_STS_UNAVAILABLE');
  assert.ok(Number(response.headers['retry-after']) > 0);
  assert.equal(authorizationServer.requests.length, 0);

  issuer.metadataBehaviour = { kind: 'document' };
  await eventually('cambist is ready', async () => (await readiness()).status === 200);
  assert.equal(await app.metric('cambist_readiness_check', { check: CHECK }), 1);
  await issuer.close();
  assert.equal((await send(await issuer.mint())).status, 200, 'the keys are fetched before the first token');
  assert.deepEqual(await readiness(), { status: 200, check: 'ready' });
});

async function startOwn(t: TestContext) {
  const writeText = writerInto(temporaryFolder(t));
  const source = writeText('token', '');
  const gateway = await startGateway(t, { route: { subject_token: { ...source, type: 'jwt' } } });
  const write = async (claims: Record<string, unknown> = {}, ttlSeconds = 600) => {
    const token = await gateway.authorizationServer.mint({ claims, ttlSeconds });
    writeText('token', `${token}\n`);
    return token;
  };
  const send = (headers: Record<string, string> = {}) => call(`${gateway.app.url}/github`, { headers, body: '{}' });
  return { ...gateway, write, send };
}

test('uses the token of a file, whatever callers send, and a renewed one at once with its expiry', async (t) => {
  const { app, authorizationServer, upstream, write, send } = await startOwn(t);
  const first = await write({ n: 1 });
  assert.equal((await send()).status, 200);
  assert.equal((await send({ authorization: 'Bearer token-of-a-caller', 'mcp-session-id': 'one' })).status, 200);
  const second = await write({ n: 2 }, 300);
  await send();
  const sent = authorizationServer.sent('subject_token');
  assert.deepEqual(sent, [first, second]);
  assert.ok(!JSON.stringify(upstream.requests.map(({ rawHeaders }) => rawHeaders)).includes('token-of-a-caller'));
  const expiry = await app.metric('cambist_credential_expiry_timestamp_seconds', {
    credential: 'subject token of route "github"',
  });
  assert.equal(expiry, decodeJwt(second).exp);
});

test('uses client credentials for a caller without a credential, but not for one with another credential', async (t) => {
  const route = { on_missing_subject: 'client_credentials' };
  const { app, authorizationServer, upstream } = await startGateway(t, { route });
  const send = (headers: Record<string, string>) => call(`${app.url}/github`, { headers, body: '{}' });
  for (const authorization of ['Basic dXNlcjpwYXNz', 'Token abcdefghijkl', 'BearerX abcdefghij', 'Negotiate', 'x']) {
    const response = await send({ authorization });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_MISSING');
    assert.match(String(response.headers['www-authenticate']), /^Bearer/);
  }
  assert.equal(authorizationServer.requests.length + upstream.requests.length, 0);
  for (const headers of [{}, { authorization: '' }, { authorization: '  ' }] as Record<string, string>[]) {
    assert.equal((await send(headers)).status, 200);
  }
  assert.deepEqual(authorizationServer.sent('grant_type'), ['client_credentials']);
});

const OPAQUE = 'opaque-caller-token-1';
const SECRET = 'introspection-client-secret';

/** cambist with callers whose tokens are opaque, on both sides of an agent. */
async function start(t: TestContext) {
  process.env.CAMBIST_TEST_INTROSPECTION = SECRET;
  const skip = skippedTime(t);
  const state = { response: {} as Record<string, unknown>, written: undefined as string | undefined, asked: 0 };
  const authorizationServer = await startFakeAuthorizationServer(t, {
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
  const { issuer } = authorizationServer;
  const exp = Math.floor(Date.now() / 1000) + 300;
  state.response = { active: true, iss: issuer, sub: 'alice', aud: ['cambist', 'agent'], exp };
  authorizationServer.behaviour = { kind: 'issue', subject: 'alice' };
  const introspection = { endpoint: `${issuer}/introspect`, cache: '1m' };
  const client_auth = { method: 'client_secret_post', client_secret: { env: 'CAMBIST_TEST_INTROSPECTION' } };
  const gateway = await startInboundGateway(t, {
    authorizationServer,
    inbound: {
      verify: { issuer, audience: 'agent', introspection },
      claims: { 'x-user-id': 'sub' },
      allow_raw_tokens: true,
    },
    route: { name: 'plain', match: { path: '/plain' } },
    moreRoutes: ({ url }) => [
      routeTo('tools', `${url}/mcp`, { subject_token: { verify: { issuer, audience: 'cambist', introspection } } }),
    ],
    top: { authorization_servers: { local: { issuer, ...clientOf(authorizationServer), client_auth } } },
  });
  return { ...gateway, state, forget: () => skip(60_000) };
}

const headers = { authorization: `Bearer ${OPAQUE}` };

test('serves an opaque caller while its token is active, and refuses it within the cache time after', async (t) => {
  const { app, state, authorizationServer, backend, forget } = await start(t);
  for (let i = 0; i < 2; i += 1) assert.equal((await call(`${app.url}/tools`, { headers })).status, 200);
  assert.equal(state.asked, 1);
  assert.equal(authorizationServer.requests[0]?.form.get('subject_token'), OPAQUE);
  state.response = { active: false };
  forget();
  assert.equal((await call(`${app.url}/tools`, { headers })).status, 401);
  assert.ok(backend.requests.every(({ authorization }) => !authorization.join().includes(OPAQUE)));
  const refused = { authorization_server: 'local', result: 'refused' };
  assert.equal(await app.metric('cambist_introspections_total', refused), 1);
  for (const secret of [OPAQUE, SECRET]) assert.ok(!app.logText().includes(secret));
});

test('gives the agent a handle and the claims of an opaque caller', async (t) => {
  const { app, agent, state, forget } = await start(t);
  const userId = async () => {
    assert.equal((await call(app.inbound ?? '', { headers })).status, 200);
    return agent.requests.at(-1)?.headers['x-user-id'];
  };
  assert.equal(await userId(), 'alice');
  state.response.sub = 'alice-renamed';
  forget();
  assert.equal(await userId(), 'alice-renamed');
  const given = new Set(agent.requests.map(({ authorization: [value = ''] }) => value));
  assert.match([...given].join(), /^Bearer cbh_[\w-]{43}$/);
});

test('removes the handle of a caller whose token became inactive, even during its request', async (t) => {
  const { app, agent, backend, state, forget } = await start(t);
  const url = app.inbound ?? '';
  const { handle } = await openHandleOf(t, { url, agent }, OPAQUE);
  const use = async () => (await call(`${app.url}/plain`, { headers: { authorization: `Bearer ${handle}` } })).status;
  assert.equal(await use(), 200);
  const { response } = state;
  state.response = { active: false };
  forget();
  assert.equal((await call(url, { headers })).status, 401);
  assert.equal(await use(), 401);
  assert.equal(backend.requests.length, 1);
  assert.equal(await app.metric('cambist_inbound_handle_removals_total', { reason: 'revoked' }), 1);
  state.response = response;
  forget();
  assert.equal((await call(url, { headers })).status, 200);
  assert.equal(lastHandle({ agent }), handle);
});

test('refuses an opaque caller of the agent without a stated expiry', async (t) => {
  const { app, state } = await start(t);
  delete state.response.exp;
  assert.equal((await call(app.inbound ?? '', { headers })).status, 401);
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
