import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Behaviour, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { type Gateway, startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { freePort } from '../harness/http-server.ts';

interface Told {
  readonly finding?: string | undefined;
  readonly cause?: string | undefined;
  readonly fix?: string | undefined;
}

/** Reads the diagnosis from the log lines of a failed request and from /status.json, which must agree. */
async function told(gateway: Gateway, lines: readonly string[] = ['exchange', 'request']): Promise<Told> {
  const toldBy = ({ finding, cause, fix }: Told = {}): Told => ({ finding, cause, fix });
  const [failure] = (await gateway.app.status()).failures;
  for (const message of lines) {
    const [line] = await gateway.app.logged(message);
    assert.deepEqual(toldBy(line as Told), toldBy(failure));
  }
  return toldBy(failure);
}

const refusal = (error: string, error_description: string, status = 400): Behaviour => ({
  kind: 'response',
  status,
  body: { error, error_description },
});

const REFUSALS: [when: string, behaviour: Behaviour, finding: string, says: RegExp][] = [
  [
    'a missing audience mapper at Keycloak',
    refusal('invalid_request', 'Requested audience not available: github-mcp'),
    'audience_mapper_missing',
    /Keycloak only selects .* no mapper adds "github-mcp".*give client "cambist" an audience mapper/,
  ],
  [
    'an issued token for another backend',
    { kind: 'issue', audience: 'https://other.example.com' },
    'audience_wrong',
    /its "aud" is "https:\/\/other\.example\.com", which does not include.*audience mapper/,
  ],
  [
    'a server without a token endpoint',
    { kind: 'response', status: 404, body: '<html>' },
    'server_unavailable',
    /the token endpoint returned 404, without an OAuth error.*token_endpoint/,
  ],
];
for (const [when, behaviour, finding, says] of REFUSALS) {
  test(`tells the cause and fix in the log and in /status.json: ${when}`, async (t) => {
    const gateway = await startGateway(t, { route: { audience: 'github-mcp' } });
    gateway.authorizationServer.behaviour = behaviour;
    await gateway.send();
    const { finding: code, cause, fix } = await told(gateway);
    assert.equal(code, finding);
    assert.match(`${cause} ${fix}`, says);
  });
}

test('tells that nothing listens at the address of the authorization server', async (t) => {
  const gateway = await startGateway(t);
  const port = await freePort();
  const { local } = gateway.config.authorization_servers;
  gateway.app.reloadTo({
    ...gateway.config,
    authorization_servers: { local: { ...local, token_endpoint: `http://127.0.0.1:${port}/token` } },
  });
  await gateway.send();
  const { finding, cause } = await told(gateway);
  assert.equal(finding, 'connection_refused');
  assert.match(cause ?? '', new RegExp(`nothing listens at 127.0.0.1:${port}`));
});

test('tells why the metadata is unusable, before the first request too', async (t) => {
  const gateway = await startGateway(t);
  const { authorizationServer, config, app } = gateway;
  authorizationServer.metadataBehaviour = { kind: 'document', fields: { issuer: 'https://idp.example.com/realms/a' } };
  const issuer = { issuer: authorizationServer.issuer, client_id: 'cambist', client_auth: { method: 'none' } };
  app.reloadTo({ ...config, authorization_servers: { local: issuer } });
  const [line] = await app.logged('not ready');
  assert.equal(line?.finding, 'issuer_mismatch');
  const [missing] = (await app.status()).missing;
  assert.equal(missing?.check, 'authorization_servers.local');
  const fix = /set authorization_servers\.local\.issuer to "https:\/\/idp\.example\.com\/realms\/a"/;
  assert.match(missing?.fix ?? '', fix);
  await gateway.send();
  assert.equal((await told(gateway)).finding, 'issuer_mismatch');
});

test('says that a caller is refused where the same exchange works for another', async (t) => {
  const gateway = await startGateway(t);
  const { authorizationServer, app } = gateway;
  await gateway.send();
  const bob = await authorizationServer.mint({ subject: 'bob', audience: 'account' });
  authorizationServer.behaviour = refusal('access_denied', 'user is not in group "dev"', 403);
  await gateway.send({ authorization: `Bearer ${bob}` });
  await app.logged('request', 2);
  const [failure] = (await app.status()).failures;
  assert.equal(failure?.finding, 'caller_refused');
  assert.match(failure?.cause ?? '', /refuses this caller: 403 access_denied: user is not in group "dev"/);
});

test('tells the cause of a remembered refusal as well', async (t) => {
  const gateway = await startGateway(t);
  gateway.authorizationServer.behaviour = refusal('invalid_target', 'unknown');
  for (const _ of [1, 2]) await gateway.send();
  const told = (await gateway.app.logged('request', 2)).map(({ cache, finding }) => `${cache} ${finding}`);
  assert.deepEqual(told, ['miss resource_refused', 'negative resource_refused']);
});

test('shows the names in a token, and neither tokens within them nor names without end', async (t) => {
  const gateway = await startGateway(t);
  const { authorizationServer, app } = gateway;
  const hidden = await authorizationServer.mint();
  const names = Array.from({ length: 500 }, (_, index) => `name-${index}`);
  const subject = await authorizationServer.mint({ audience: ['account', hidden, ...names] });
  authorizationServer.behaviour = refusal('access_denied', 'Client is not within the token audience', 403);
  await gateway.send({ authorization: `Bearer ${subject}` });
  const { finding, cause = '' } = await told(gateway);
  assert.equal(finding, 'subject_audience_lacks_client');
  assert.match(cause, /it is for "account", "\[redacted\]", "name-0"/);
  assert.match(cause, /and 494 more/);
  assert.ok(!app.logText().includes(hidden.slice(0, 40)));
});

const challenge = (text: string) => ({ 'www-authenticate': `Bearer ${text}` });
const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };

const SPRING = 'An error occurred while attempting to decode the Jwt: JOSE header typ (type) at+jwt not allowed';
const BACKENDS: [when: string, handler: UpstreamHandler, finding: string, says: RegExp, cause: RegExp][] = [
  [
    'Spring refuses the type of a token',
    respond(401, '', challenge(`error="invalid_token", error_description="${SPRING}", error_uri="https://x.example"`)),
    'backend_refuses_type',
    /it says invalid_token: An error occurred .*: JOSE header typ \(type\) at\+jwt not allowed/,
    /alg "ES256", kid "fake"/,
  ],
  [
    'a reason in a JSON body',
    respond(401, JSON.stringify({ error: 'invalid_token', error_description: 'unexpected "aud" claim' }), JSON_TYPE),
    'backend_refuses_audience',
    /it says invalid_token: unexpected "aud" claim/,
    /aud "http:\/\/127\.0\.0\.1:\d+\/mcp"/,
  ],
  ['no reason', respond(401, 'no'), 'backend_refuses_token', /it gave no reason/, /iss "http:\/\/127\.0\.0\.1:\d+"/],
];
for (const [when, handler, finding, says, cause] of BACKENDS) {
  test(`tells why a backend refuses an issued token: ${when}`, async (t) => {
    const gateway = await startGateway(t, { handler });
    const response = await gateway.send();
    assertProblem(response, 'ERR_UPSTREAM_REFUSED_TOKEN');
    const { finding: code, cause: why } = await told(gateway, ['request']);
    assert.equal(code, finding);
    assert.match(why ?? '', cause);
    const [line] = await gateway.app.logged('request');
    assert.match(JSON.parse(JSON.stringify(line?.err ?? {})).message, says);
    assert.equal(line?.oauth_error, finding === 'backend_refuses_token' ? undefined : 'invalid_token');
  });
}

test('keeps the token that a backend repeats out of the log', async (t) => {
  const gateway = await startGateway(t, {
    handler: (received, response) => {
      const [token = ''] = received.authorization;
      const says = challenge(`error="${token.slice(7, 30)}", error_description="bad ${token}"`);
      return respond(401, '', says)(received, response);
    },
  });
  await gateway.send();
  await told(gateway, ['request']);
  for (const { issued = '' } of gateway.authorizationServer.requests) {
    assert.ok(!gateway.app.logText().includes(issued.slice(0, 23)));
  }
});

test('does not wait for the end of a refusal', async (t) => {
  const gateway = await startGateway(t, {
    handler: (_received, response) => {
      response.writeHead(401, { ...JSON_TYPE, 'content-length': 100 });
      response.write('{');
    },
  });
  const response = await gateway.send();
  assertProblem(response, 'ERR_UPSTREAM_REFUSED_TOKEN');
});

test('tells that nothing listens at the upstream', async (t) => {
  const gateway = await startGateway(t, { route: { upstream: `http://127.0.0.1:${await freePort()}/mcp` } });
  await gateway.send();
  const { finding, fix } = await told(gateway, ['request']);
  assert.equal(finding, 'connection_refused');
  assert.match(fix ?? '', /routes\.github\.upstream/);
});

test('tells which claim of a subject token the rules of the route refuse', async (t) => {
  const authorizationServer = await startFakeAuthorizationServer(t);
  const verify = { issuer: authorizationServer.issuer, audience: 'agents' };
  const gateway = await startGateway(t, { route: { subject_token: { verify } } });
  const token = await authorizationServer.mint({ audience: ['account', 'my-agent'] });
  await gateway.send({ authorization: `Bearer ${token}` });
  const { finding, cause, fix } = await told(gateway, ['request']);
  assert.equal(finding, 'verify_audience_differs');
  assert.match(cause ?? '', /is "account", "my-agent", but subject_token\.verify requires "agents"/);
  assert.match(fix ?? '', /subject_token\.verify\.audience/);
});

test('names the other credential of a session in the log, when a backend does not know the session', async (t) => {
  const message = { path: '/github', mcp_method: 'initialize' };
  const upstream = 'http://127.0.0.1:1/mcp';
  const list = { name: 'list', match: message, upstream };
  for (const [other, finding] of [
    [{ ...list, credential: 'client_credentials' }, 'session_unknown'],
    [{ ...list, on_missing_subject: 'client_credentials' }, 'session_unknown'],
    [{ ...list, scope: 'list' }, undefined],
    [{ ...list, match: { path: '/other' }, credential: 'client_credentials' }, undefined],
  ] as const) {
    const handler = respond(404, 'Session not found');
    const { app, authorization } = await startGateway(t, { handler, moreRoutes: [other] });
    for (const session of [{ 'mcp-session-id': 's-1' }, {}]) {
      const { status } = await call(`${app.url}/github`, { method: 'DELETE', headers: { authorization, ...session } });
      assert.equal(status, 404);
    }
    const [first, second] = await app.logged('request', 2);
    assert.deepEqual([first?.finding, second?.finding], [finding, undefined]);
    if (finding !== undefined) assert.match(String(first?.cause), /other credential of route "list"/);
  }
});
