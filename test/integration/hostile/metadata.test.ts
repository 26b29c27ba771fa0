import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../../harness/fake-upstream.ts';
import { call } from '../../harness/http-call.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { assertProblem } from '../../harness/problem.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';
import { echo } from '../../harness/upstream-handlers.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');
const CLIENT_SECRET = 'Vn5tQz8LwKcX3yRd';

/** An https issuer, and a plain http port of this pod that must get no request. */
async function start(t: TestContext, { verify = false, allowInsecureHttp = false } = {}) {
  const folder = temporaryFolder(t);
  const write = (name: string, content: string) => {
    const file = join(folder, name);
    writeFileSync(file, content);
    return { file };
  };
  const adminRequests: string[] = [];
  const adminPort = await startHttpServer((request, response) => {
    adminRequests.push(`${request.method} ${request.url}`);
    response.end('{"access_token":"x","token_type":"Bearer"}');
  });
  const issuer = await startFakeAuthorizationServer({ tls: AUTHORITY.issueServer() });
  const upstream = await startFakeUpstream(echo);
  t.after(async () => {
    await issuer.close();
    await adminPort.close();
    await upstream.close();
  });
  const url = `${adminPort.url}/quitquitquit?`;
  issuer.metadataBehaviour = { kind: 'document', fields: { [verify ? 'jwks_uri' : 'token_endpoint']: url } };
  const app = await startTestApp(t, {
    authorization_servers: {
      local: {
        issuer: issuer.issuer,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_post', client_secret: write('secret', CLIENT_SECRET) },
        tls: { ca: write('ca.pem', AUTHORITY.cert) },
        allow_insecure_http: allowInsecureHttp,
      },
    },
    routes: [
      {
        name: 'github',
        match: { path: '/github' },
        upstream: `${upstream.url}/mcp`,
        ...(verify && { subject_token: { verify: { issuer: issuer.issuer } } }),
      },
    ],
  });
  const send = async () =>
    call(`${app.url}/github`, { headers: { authorization: `Bearer ${await issuer.mint()}` }, body: '{}' });
  return { app, issuer, upstream, adminRequests, send };
}

for (const allowInsecureHttp of [false, true]) {
  test(`sends nothing to a plain http token endpoint of an https issuer, allow_insecure_http: ${allowInsecureHttp}`, async (t) => {
    const { app, issuer, upstream, adminRequests, send } = await start(t, { allowInsecureHttp });
    assertProblem(await send(), 'ERR_STS_METADATA_INVALID');
    const notReady = () => app.logs.find(({ msg }) => msg === 'not ready');
    await eventually('the log names the cause', () => notReady() !== undefined);
    assert.match(
      JSON.stringify(notReady()),
      /names a \\"token_endpoint\\" without https: make the server publish its https URL, or set \\"token_endpoint\\"/,
    );
    issuer.metadataBehaviour = { kind: 'document' };
    assert.equal((await send()).status, 200);
    assert.deepEqual(adminRequests, []);
    assert.equal(upstream.requests.length, 1);
  });
}

test('fetches no keys from a plain http URL of an https issuer', async (t) => {
  const { app, adminRequests, send } = await start(t, { verify: true });
  assertProblem(await send(), 'ERR_STS_METADATA_INVALID');
  assert.match(app.logText(), /names a \\"jwks_uri\\" without https: .*, or set \\"jwks_uri\\"/);
  assert.deepEqual(adminRequests, []);
});

test('of two servers whose metadata names the same endpoint, one serves and the other is refused', async (t) => {
  const red = await startFakeAuthorizationServer();
  const blue = await startFakeAuthorizationServer();
  const shared = await startFakeAuthorizationServer();
  const upstream = await startFakeUpstream(echo);
  t.after(async () => {
    for (const server of [red, blue, shared, upstream]) await server.close();
  });
  const fields = { token_endpoint: shared.tokenEndpoint };
  red.metadataBehaviour = { kind: 'document', fields };
  blue.metadataBehaviour = { kind: 'document', fields };
  const client = { client_id: 'cambist', client_auth: { method: 'none' } };
  const route = (name: string) => ({
    name,
    match: { path: `/${name}` },
    upstream: `${upstream.url}/mcp`,
    authorization_server: name,
  });
  const app = await startTestApp(t, {
    authorization_servers: { red: { issuer: red.issuer, ...client }, blue: { issuer: blue.issuer, ...client } },
    routes: [route('red'), route('blue')],
  });
  await eventually('the conflict is logged', () => app.logs.filter(({ msg }) => msg === 'not ready').length >= 1);
  const send = async (name: string) =>
    call(`${app.url}/${name}`, { headers: { authorization: `Bearer ${await red.mint()}` }, body: '{}' });
  const responses = { red: await send('red'), blue: await send('blue') };
  const refused = responses.red.status === 200 ? 'blue' : 'red';
  assertProblem(responses[refused], 'ERR_STS_METADATA_INVALID');
  assert.equal(responses[refused === 'red' ? 'blue' : 'red'].status, 200);
  assert.match(
    app.logText(),
    /names the token endpoint of authorization server \\"(red|blue)\\": .*set \\"token_endpoint\\"/,
  );
  assert.equal(shared.requests.length, 1);
  const owner = { red, blue }[refused];
  owner.metadataBehaviour = { kind: 'document' };
  await eventually('the refused server serves', async () => (await send(refused)).status === 200);
  assert.deepEqual([shared.requests.length, owner.requests.length], [1, 1]);
});
