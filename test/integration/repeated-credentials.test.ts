import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import {
  type Behaviour,
  startFakeAuthorizationServer,
  type TokenRequest,
} from '../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { recordSecret } from '../harness/leaks.ts';
import { temporaryFolder } from '../harness/lifetime.ts';

const CLIENT_SECRET = 'fZ8tXq2LwPcM4vRb';
const ACTOR_TOKEN = 'actor-token-3kQ9vX7b';

function issues(accessToken: string | null | undefined): Behaviour {
  return { kind: 'issue', accessToken: accessToken ?? 'field-was-missing' };
}

function decodeBasic({ headers }: TokenRequest): string {
  return Buffer.from(String(headers.authorization).replace('Basic ', ''), 'base64').toString('utf8');
}

/** Files with a client secret and an actor token. */
function writeCredentials(t: TestContext) {
  const folder = temporaryFolder(t);
  const write = (name: string, content: string) => {
    recordSecret(content);
    const file = join(folder, name);
    writeFileSync(file, content);
    return { file };
  };
  return { clientSecret: write('client-secret', CLIENT_SECRET), actorToken: write('actor-token', ACTOR_TOKEN) };
}

/** A gateway whose client authenticates with the given method. */
async function start(
  t: TestContext,
  method: 'none' | 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt' = 'none',
  { serverKeys = {}, route = {} }: { serverKeys?: Record<string, unknown>; route?: Record<string, unknown> } = {},
) {
  const { clientSecret, actorToken } = writeCredentials(t);
  const options: GatewayOptions = { route: { actor_token: actorToken, ...route } };
  const gateway = await startGateway(t, options);
  const { local } = gateway.config.authorization_servers;
  gateway.app.reloadTo({
    ...gateway.config,
    authorization_servers: {
      local: {
        ...local,
        ...serverKeys,
        client_auth: method === 'none' ? { method } : { method, client_secret: clientSecret },
      },
    },
  });
  const send = (token: string) =>
    call(`${gateway.app.url}/github`, { headers: { authorization: `Bearer ${token}` }, body: '{}' });
  return { ...gateway, send };
}

const REPEATED: {
  credential: string;
  method?: Parameters<typeof start>[1];
  grant?: 'jwt_bearer';
  repeat: (request: TokenRequest) => string | null | undefined;
}[] = [
  { credential: "the caller's token", repeat: ({ form }) => form.get('subject_token') },
  { credential: "the caller's token with a scheme", repeat: ({ form }) => `bEaReR  ${form.get('subject_token')} ` },
  { credential: "the caller's token with padding", repeat: ({ form }) => `${form.get('subject_token')}==` },
  { credential: "the caller's token within another token", repeat: ({ form }) => `new.${form.get('subject_token')}` },
  { credential: 'the actor token', repeat: ({ form }) => form.get('actor_token') },
  { credential: 'the assertion of grant jwt_bearer', grant: 'jwt_bearer', repeat: ({ form }) => form.get('assertion') },
  {
    credential: 'the client secret in the form',
    method: 'client_secret_post',
    repeat: ({ form }) => form.get('client_secret'),
  },
  {
    credential: 'the client assertion',
    method: 'client_secret_jwt',
    repeat: ({ form }) => form.get('client_assertion'),
  },
  { credential: 'the client secret that signs', method: 'client_secret_jwt', repeat: () => CLIENT_SECRET },
  {
    credential: 'the Basic user',
    method: 'client_secret_basic',
    repeat: (request) => decodeBasic(request).split(':')[0],
  },
  {
    credential: 'the Basic password',
    method: 'client_secret_basic',
    repeat: (request) => decodeBasic(request).split(':')[1],
  },
  { credential: 'the Basic user and password', method: 'client_secret_basic', repeat: decodeBasic },
  {
    credential: 'the Basic credentials',
    method: 'client_secret_basic',
    repeat: ({ headers }) => String(headers.authorization).replace('Basic ', ''),
  },
  {
    credential: 'the Authorization header',
    method: 'client_secret_basic',
    repeat: ({ headers }) => headers.authorization,
  },
  { credential: 'an extra parameter', repeat: ({ form }) => form.get('api_key') },
  { credential: 'the client id', repeat: ({ form }) => form.get('client_id') },
  { credential: 'the scope', repeat: ({ form }) => form.get('scope') },
];

for (const { credential, method, grant, repeat } of REPEATED) {
  test(`returns 502 and forwards nothing when the token endpoint returns ${credential}`, async (t) => {
    const { send, authorizationServer, upstream, app } = await start(t, method, {
      serverKeys: { extra_params: { api_key: 'extra-parameter-Yq7' }, ...(grant && { grant }) },
      route: { scope: 'repo', ...(grant && { actor_token: undefined, expect_audience: 'any' }) },
    });
    authorizationServer.behaviour = (request) => issues(repeat(request));
    for (const token of ['opaque-token-of-alice', await authorizationServer.mint({ audience: 'any' })]) {
      const requestsBefore = authorizationServer.requests.length;
      assertProblem(await send(token), 'ERR_STS_RESPONSE_INVALID');
      assertProblem(await send(token), 'ERR_STS_RESPONSE_INVALID');
      assert.equal(authorizationServer.requests.length, requestsBefore + 2, 'the response was cached');
      assert.ok(!app.logText().includes(token));
    }
    assert.equal(upstream.requests.length, 0);
    const sent = authorizationServer.requests.map(({ issued }) => issued);
    assert.ok(!sent.includes('field-was-missing'));
    assert.ok(!app.logText().includes(CLIENT_SECRET) && !app.logText().includes(ACTOR_TOKEN));
  });
}

test("refuses the caller's own JWT even when its audience names the backend", async (t) => {
  const { send, authorizationServer, upstream, app } = await start(t);
  const token = await authorizationServer.mint({ audience: ['cambist', `${upstream.url}/mcp`] });
  authorizationServer.behaviour = ({ form }) => issues(form.get('subject_token'));
  assertProblem(await send(token), 'ERR_STS_RESPONSE_INVALID');
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /contains the \\"subject_token\\" of the request/);
});

/** A chain whose two servers return what a test says. */
async function startChain(t: TestContext) {
  const { clientSecret } = writeCredentials(t);
  const company = await startFakeAuthorizationServer(t);
  const second = await startFakeAuthorizationServer(t);
  const upstream = await startFakeUpstream(t, echo);
  company.behaviour = { kind: 'issue', audience: second.issuer, fields: { token_type: 'N_A' } };
  const client_auth = { method: 'client_secret_post', client_secret: clientSecret };
  const app = await startTestApp(t, {
    authorization_servers: {
      company: { issuer: company.issuer, client_id: 'at-company', client_auth },
      second: { issuer: second.issuer, client_id: 'at-second', client_auth: { method: 'none' } },
    },
    routes: [
      {
        name: 'github',
        match: { path: '/github' },
        upstream: `${upstream.url}/mcp`,
        authorization_server: 'second',
        expect_audience: 'any',
        chain: { authorization_server: 'company', assertion: 'id_jag' },
      },
    ],
  });
  const token = await company.mint({ audience: ['cambist', second.issuer, `${upstream.url}/mcp`] });
  const send = (headers: Record<string, string> = {}) =>
    call(`${app.url}/github`, { headers: { authorization: `Bearer ${token}`, ...headers }, body: '{}' });
  return { company, second, upstream, send, token };
}

test('refuses an assertion that is the token sent to the first server of a chain', async (t) => {
  const { company, second, upstream, send, token } = await startChain(t);
  company.behaviour = { kind: 'issue', accessToken: token, fields: { token_type: 'N_A' } };
  assertProblem(await send(), 'ERR_STS_RESPONSE_INVALID');
  assert.equal(second.requests.length + upstream.requests.length, 0);
});

const FROM_SECOND: [credential: string, returned: (token: string, assertion: string) => string][] = [
  ["the caller's token", (token) => token],
  ['the assertion', (_token, assertion) => assertion],
  ['the client secret of the first server', () => CLIENT_SECRET],
  ['the client id of the first server', () => 'at-company'],
];
for (const [credential, returned] of FROM_SECOND) {
  test(`refuses ${credential} from the second server of a chain`, async (t) => {
    const { company, second, upstream, send, token } = await startChain(t);
    const issued = () => company.requests.at(-1)?.issued ?? 'no-assertion';
    second.behaviour = () => ({
      kind: 'issue',
      accessToken: returned(token, issued()),
      fields: { issued_token_type: undefined },
    });
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
      const { app, config, authorization, authorizationServer } = await startGateway(t);
      const { local } = config.authorization_servers;
      app.reloadTo({
        ...config,
        authorization_servers: {
          local: {
            ...local,
            client_auth: {
              method: 'client_secret_basic',
              basic_encoding: encoding,
              client_secret: { env: 'ECHOED_SECRET' },
            },
          },
        },
      });
      let credentials = '';
      authorizationServer.behaviour = ({ headers }) => {
        credentials = String(headers.authorization).replace('Basic ', '');
        const repeated = [secret, formEncoded(secret), credentials].map((text) => `<${text}>`).join(' ');
        return {
          kind: 'response',
          status: 401,
          body: { error: `bad ${secret}`, error_description: `wrong ${repeated}` },
        };
      };
      assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_CLIENT_REFUSED');
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
