import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { routeTo, startTestApp } from '../harness/app.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { assertProblem, call } from '../harness/http-call.ts';

const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

/** The company's identity provider, the backend's own authorization server, and the backend. */
async function start(t: TestContext, assertion: 'id_jag' | 'jwt' = 'id_jag') {
  const company = await startFakeAuthorizationServer(t);
  const second = await startFakeAuthorizationServer(t);
  const upstream = await startFakeUpstream(t, echo);
  company.behaviour = ({ form }) => ({
    kind: 'issue',
    audience: form.get('audience') ?? '',
    fields: { token_type: 'N_A', issued_token_type: form.get('requested_token_type') },
  });
  second.behaviour = { kind: 'issue', fields: { issued_token_type: undefined } };
  const app = await startTestApp(t, {
    authorization_servers: {
      company: { issuer: company.issuer, client_id: 'at-company', client_auth: { method: 'none' } },
      second: { issuer: second.issuer, client_id: 'at-second', client_auth: { method: 'none' } },
    },
    routes: [
      routeTo('github', `${upstream.url}/mcp`, {
        authorization_server: 'second',
        scope: 'repo:read',
        chain: { authorization_server: 'company', assertion },
      }),
    ],
  });
  const authorization = `Bearer ${await company.mint({ audience: 'at-company' })}`;
  const send = (headers: Record<string, string> = {}) =>
    call(`${app.url}/github`, { headers: { authorization, ...headers }, body: '{}' });
  /** The requests that reached both servers. */
  const counts = () => [company.requests.length, second.requests.length];
  return { company, second, upstream, app, authorization, send, counts };
}

test('exchanges an ID token by an ID-JAG for a token for the backend', async (t) => {
  const { company, second, upstream, authorization, send } = await start(t);
  assert.equal((await send()).status, 200);
  assert.deepEqual(Object.fromEntries(company.requests[0]?.form ?? []), {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: authorization.slice('Bearer '.length),
    subject_token_type: `${TOKEN_TYPE}id_token`,
    requested_token_type: `${TOKEN_TYPE}id-jag`,
    audience: second.issuer,
    resource: `${upstream.url}/mcp`,
    scope: 'repo:read',
    client_id: 'at-company',
  });
  assert.deepEqual(Object.fromEntries(second.requests[0]?.form ?? []), {
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion: company.requests[0]?.issued,
    resource: `${upstream.url}/mcp`,
    scope: 'repo:read',
    client_id: 'at-second',
  });
  assert.deepEqual(upstream.requests[0]?.authorization, [`Bearer ${second.requests[0]?.issued}`]);
});

test('caches both legs: a second session uses only the second server, a second caller both', async (t) => {
  const { company, send, counts, app } = await start(t);
  for (let i = 0; i < 2; i += 1) await send();
  assert.deepEqual(counts(), [1, 1]);
  await send({ 'mcp-session-id': 'one' });
  assert.deepEqual(counts(), [1, 2]);
  await send({ authorization: `Bearer ${await company.mint({ subject: 'bob' })}` });
  assert.deepEqual(counts(), [2, 3]);
  const exchanges = (authorization_server: string) =>
    app.metric('cambist_exchanges_total', { route: 'github', authorization_server, result: 'success' });
  assert.deepEqual([await exchanges('company'), await exchanges('second')], [2, 3]);
});

test('identity chaining sends no resource to the first server', async (t) => {
  const { company, send } = await start(t, 'jwt');
  assert.equal((await send()).status, 200);
  const form = company.requests[0]?.form;
  const sent = ['resource', 'requested_token_type', 'subject_token_type'].map((name) => form?.get(name));
  assert.deepEqual(sent, [null, `${TOKEN_TYPE}jwt`, `${TOKEN_TYPE}access_token`]);
});

test('never sends an assertion to a backend, and never accepts one as a token', async (t) => {
  const { company, second, upstream, send } = await start(t);
  second.behaviour = { kind: 'issue', fields: { token_type: 'N_A' } };
  assertProblem(await send(), 'ERR_STS_RESPONSE_INVALID');
  company.behaviour = { kind: 'issue', audience: 'https://elsewhere.example.com', fields: { token_type: 'N_A' } };
  assertProblem(await send({ authorization: `Bearer ${await company.mint()}` }), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.deepEqual([second.requests.length, upstream.requests.length], [1, 0]);
});

test('returns the refusal of either server', async (t) => {
  const { company, second, upstream, send, counts } = await start(t);
  const usual = company.behaviour;
  const refusal = (error: string, more: object = {}) =>
    ({ kind: 'response', status: 400, body: { error, ...more } }) as const;
  const fresh = async () => ({ authorization: `Bearer ${await company.mint()}` });
  company.behaviour = refusal('invalid_grant');
  assertProblem(await send(await fresh()), 'ERR_SUBJECT_TOKEN_INVALID');
  company.behaviour = refusal('invalid_target');
  const caller = await fresh();
  for (let i = 0; i < 2; i += 1) assertProblem(await send(caller), 'ERR_EXCHANGE_REFUSED');
  assert.deepEqual(counts(), [2, 0], 'the refusal is cached');
  company.behaviour = usual;
  second.behaviour = refusal('interaction_required', { claims: '{"a":1}' });
  const response = await send(await fresh());
  assertProblem(response, 'ERR_INTERACTION_REQUIRED');
  assert.match(String(response.headers['www-authenticate']), /insufficient_claims/);
  assert.equal(upstream.requests.length, 0);
});

test('returns 502 rather than 401 when the second server refuses a new assertion', async (t) => {
  const { second, upstream, send, counts, app } = await start(t);
  second.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  for (let i = 0; i < 2; i += 1) assertProblem(await send(), 'ERR_CLIENT_REFUSED');
  assert.deepEqual(counts(), [2, 2], 'each request gets a new assertion');
  const refused = { route: 'github', authorization_server: 'second', error: 'ERR_CLIENT_REFUSED' };
  assert.equal(await app.metric('cambist_exchanges_total', refused), 2);
  second.behaviour = { kind: 'issue', fields: { issued_token_type: undefined } };
  assert.equal((await send()).status, 200, 'the refusal is not cached');
  assert.equal(upstream.requests.length, 1);
});
