import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startFakeAuthorizationServer, type TokenRequest } from '../harness/fake-authorization-server.ts';
import { startGateway } from '../harness/gateway.ts';
import { assertProblem } from '../harness/http-call.ts';
import { recordSecret } from '../harness/leaks.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const CLIENT_SECRET = 'fZ8tXq2LwPcM4vRb';
const ACTOR_TOKEN = 'actor-token-3kQ9vX7b';

const basicOf = ({ headers }: TokenRequest) => String(headers.authorization).replace('Basic ', '');
const decodeBasic = (request: TokenRequest) => Buffer.from(basicOf(request), 'base64').toString('utf8');

/** Writes a credential into a file. */
function writeCredential(t: TestContext, content: string) {
  recordSecret(content);
  return writerInto(temporaryFolder(t))('credential', content);
}

type Method = 'none' | 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt';

interface Options {
  /** Of the client authentication. */
  readonly method?: Method;
  readonly serverKeys?: Record<string, unknown>;
  readonly route?: Record<string, unknown>;
}

async function start(t: TestContext, { method = 'none', serverKeys = {}, route = {} }: Options = {}) {
  const gateway = await startGateway(t, { route: { actor_token: writeCredential(t, ACTOR_TOKEN), ...route } });
  const { app, config } = gateway;
  const client_auth = { method, ...(method !== 'none' && { client_secret: writeCredential(t, CLIENT_SECRET) }) };
  const local = { ...config.authorization_servers.local, ...serverKeys, client_auth };
  app.reloadTo({ ...config, authorization_servers: { local } });
  const send = (token: string) => gateway.send({ authorization: `Bearer ${token}` }, '{}');
  return { ...gateway, send };
}

type Repeat = (request: TokenRequest) => string | null | undefined;

const REPEATED: readonly (readonly [credential: string, repeat: Repeat, method?: Method])[] = [
  ["the caller's token", ({ form }) => form.get('subject_token')],
  ['the actor token', ({ form }) => form.get('actor_token')],
  ['the assertion of grant jwt_bearer', ({ form }) => form.get('assertion')],
  ['the client secret in the form', ({ form }) => form.get('client_secret'), 'client_secret_post'],
  ['the client assertion', ({ form }) => form.get('client_assertion'), 'client_secret_jwt'],
  ['the client secret that signs', () => CLIENT_SECRET, 'client_secret_jwt'],
  ['the Basic user', (request) => decodeBasic(request).split(':')[0], 'client_secret_basic'],
  ['the Basic password', (request) => decodeBasic(request).split(':')[1], 'client_secret_basic'],
  ['the Authorization header', ({ headers }) => headers.authorization, 'client_secret_basic'],
  ['an extra parameter', ({ form }) => form.get('api_key')],
  ['the client id', ({ form }) => form.get('client_id')],
  ['the scope', ({ form }) => form.get('scope')],
];

for (const [credential, repeat, method] of REPEATED) {
  test(`returns 502 and forwards nothing when the token endpoint returns ${credential}`, async (t) => {
    const isAssertion = credential.endsWith('jwt_bearer');
    const { send, authorizationServer, upstream, app } = await start(t, {
      ...(method !== undefined && { method }),
      serverKeys: { extra_params: { api_key: 'extra-parameter-Yq7' }, ...(isAssertion && { grant: 'jwt_bearer' }) },
      route: { scope: 'repo', ...(isAssertion && { actor_token: undefined, expect_audience: 'any' }) },
    });
    authorizationServer.behaviour = (request) => ({
      kind: 'issue',
      accessToken: repeat(request) ?? assert.fail('the request has no such field'),
    });
    for (const token of ['opaque-token-of-alice', await authorizationServer.mint({ audience: 'any' })]) {
      const requestsBefore = authorizationServer.requests.length;
      assertProblem(await send(token), 'ERR_STS_RESPONSE_INVALID');
      assertProblem(await send(token), 'ERR_STS_RESPONSE_INVALID');
      assert.equal(authorizationServer.requests.length, requestsBefore + 2, 'the response was cached');
      assert.ok(!app.logText().includes(token));
    }
    assert.equal(upstream.requests.length, 0);
    assert.ok(!app.logText().includes(CLIENT_SECRET) && !app.logText().includes(ACTOR_TOKEN));
  });
}

test("refuses the caller's own JWT even when its audience names the backend", async (t) => {
  const { send, authorizationServer, upstream, app } = await start(t);
  const token = await authorizationServer.mint({ audience: ['cambist', `${upstream.url}/mcp`] });
  authorizationServer.behaviour = { kind: 'issue', accessToken: token };
  assertProblem(await send(token), 'ERR_STS_RESPONSE_INVALID');
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /contains the \\"subject_token\\" of the request/);
});

/** A chain whose two servers return what a test says. */
async function startChain(t: TestContext) {
  const company = await startFakeAuthorizationServer(t);
  const second = await startFakeAuthorizationServer(t);
  company.behaviour = { kind: 'issue', audience: second.issuer, fields: { token_type: 'N_A' } };
  const client_auth = { method: 'client_secret_post', client_secret: writeCredential(t, CLIENT_SECRET) };
  const gateway = await startGateway(t, {
    authorizationServer: company,
    route: {
      authorization_server: 'second',
      expect_audience: 'any',
      chain: { authorization_server: 'company', assertion: 'id_jag' },
    },
    top: {
      authorization_servers: {
        company: { issuer: company.issuer, client_id: 'at-company', client_auth },
        second: { issuer: second.issuer, client_id: 'at-second', client_auth: { method: 'none' } },
      },
    },
  });
  const token = await company.mint({ audience: ['cambist', second.issuer, `${gateway.upstream.url}/mcp`] });
  const send = (headers = {}) => gateway.send({ authorization: `Bearer ${token}`, ...headers }, '{}');
  return { ...gateway, company, second, send, token };
}

test('refuses an assertion that is the token sent to the first server of a chain', async (t) => {
  const { company, second, upstream, send, token } = await startChain(t);
  company.behaviour = { kind: 'issue', accessToken: token, fields: { token_type: 'N_A' } };
  assertProblem(await send(), 'ERR_STS_RESPONSE_INVALID');
  assert.equal(second.requests.length + upstream.requests.length, 0);
});

for (const credential of [
  "the caller's token",
  'the assertion',
  'the client secret of the first server',
  'the client id of the first server',
] as const) {
  test(`refuses ${credential} from the second server of a chain`, async (t) => {
    const { company, second, upstream, send, token } = await startChain(t);
    second.behaviour = () => {
      const accessToken = {
        "the caller's token": token,
        'the assertion': company.requests.at(-1)?.issued ?? assert.fail('no assertion'),
        'the client secret of the first server': CLIENT_SECRET,
        'the client id of the first server': 'at-company',
      }[credential];
      return { kind: 'issue', accessToken, fields: { issued_token_type: undefined } };
    };
    assertProblem(await send(), 'ERR_STS_RESPONSE_INVALID');
    assertProblem(await send({ 'mcp-session-id': 'other' }), 'ERR_STS_RESPONSE_INVALID');
    assert.equal(company.requests.length, 1, 'the second exchange reuses the assertion');
    assert.equal(second.requests.length, 2);
    assert.equal(upstream.requests.length, 0);
    second.behaviour = { kind: 'issue', fields: { issued_token_type: undefined } };
    assert.equal((await send()).status, 200);
  });
}

/** The form encoding of a secret (RFC 6749 section 2.3.1). */
const formEncoded = (text: string) => encodeURIComponent(text).replaceAll('!', '%21').replaceAll('%20', '+');

for (const secret of ['s3cr3t! of/the+client', 'zQ7!', 'k9']) {
  for (const encoding of ['form', 'raw']) {
    test(`keeps a client secret that the server repeats out of the log: ${secret.length} characters, ${encoding}`, async (t) => {
      process.env.ECHOED_SECRET = secret;
      t.after(() => delete process.env.ECHOED_SECRET);
      const { app, config, send, authorizationServer } = await startGateway(t);
      const client_secret = { env: 'ECHOED_SECRET' };
      const client_auth = { method: 'client_secret_basic', basic_encoding: encoding, client_secret };
      const local = { ...config.authorization_servers.local, client_auth };
      app.reloadTo({ ...config, authorization_servers: { local } });
      let credentials = '';
      authorizationServer.behaviour = (request) => {
        credentials = basicOf(request);
        const repeated = [secret, formEncoded(secret), credentials].map((text) => `<${text}>`).join(' ');
        const body = { error: `bad ${secret}`, error_description: `wrong ${repeated}` };
        return { kind: 'response', status: 401, body };
      };
      assertProblem(await send(), 'ERR_CLIENT_REFUSED');
      const refusals = app.logs
        .filter(({ msg }) => msg === 'request' || msg === 'exchange')
        .map(({ err, oauth_error }) => JSON.stringify([err, oauth_error]));
      assert.ok(refusals.length === 2 && refusals.every((text) => text.includes('[redacted]')), refusals.join());
      for (const text of refusals) {
        for (const part of [secret, formEncoded(secret), credentials]) assert.ok(!text.includes(part), text);
      }
    });
  }
}
