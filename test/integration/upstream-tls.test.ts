import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { startTestApp } from '../harness/app.ts';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { soon } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { serve } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const authority = createCertificateAuthority();
const stranger = createCertificateAuthority('another CA');

/** Files of a CA and of a client certificate, as the key `tls` of a config names them. */
function tlsFiles(t: TestContext, ca?: string, client?: Certificate) {
  const folder = temporaryFolder(t);
  const write = writerInto(folder);
  const tls = {
    ...(ca !== undefined && { ca: write('ca.pem', ca) }),
    ...(client !== undefined && {
      certificate: write('tls.crt', client.cert),
      private_key: write('tls.key', client.key),
    }),
  };
  return { folder, write, tls };
}

interface Setup {
  readonly server?: Certificate;
  readonly clientCa?: string;
  /** PEM texts for the route's `tls`. */
  readonly ca?: string | undefined;
  readonly client?: Certificate | undefined;
}

async function start(
  t: TestContext,
  { server = authority.issueServer(), clientCa, ca, client }: Setup = { ca: authority.cert },
) {
  const upstream = await startFakeUpstream(t, echo, {
    tls: { ...server, ...(clientCa !== undefined && { clientCa }) },
  });
  const { folder, tls } = tlsFiles(t, ca, client);
  const route = { name: 'secure', match: { path: '/' }, upstream: upstream.url, credential: 'none', tls };
  // 0 sets no limit on connecting.
  const app = await startTestApp(t, { routes: [{ ...route, timeouts: { connect: 0 } }] });
  return { app, upstream, folder };
}

test('sends no request to an upstream whose certificate is untrusted, expired or for another name', async (t) => {
  for (const [problem, setup] of Object.entries({
    'no CA configured': {},
    'signed by another CA': { server: stranger.issueServer(), ca: authority.cert },
    'another name': { server: authority.issueServer({ hosts: ['example.com'] }), ca: authority.cert },
    expired: { server: authority.issueServer({ validFromSeconds: -7200, validUntilSeconds: -60 }), ca: authority.cert },
    'not yet valid': {
      server: authority.issueServer({ validFromSeconds: 3600, validUntilSeconds: 7200 }),
      ca: authority.cert,
    },
    'a client certificate': { server: authority.issueClient({ commonName: 'localhost' }), ca: authority.cert },
  })) {
    const { app, upstream } = await start(t, setup);
    assertProblem(await call(`${app.url}/x`), 'ERR_UPSTREAM_TLS');
    assert.equal(upstream.requests.length, 0, problem);
  }
});

test('presents a client certificate to an upstream that requests one, and reports its expiry as a metric', async (t) => {
  const client = authority.issueClient();
  const { app } = await start(t, { clientCa: authority.cert, ca: authority.cert, client });
  assert.equal((await call(`${app.url}/x`)).status, 200);
  const expiry = await app.metric('cambist_credential_expiry_timestamp_seconds', {
    credential: 'route "secure"',
  });
  assert.equal(expiry, Date.parse(new X509Certificate(client.cert).validTo) / 1000);
});

test('returns 502 when an upstream requires a client certificate and gets none or an untrusted one', async (t) => {
  for (const client of [undefined, stranger.issueClient()]) {
    const { app, upstream } = await start(t, { clientCa: authority.cert, ca: authority.cert, client });
    const response = await call(`${app.url}/x`);
    assert.equal(response.status, 502);
    assert.match(JSON.parse(response.text).code, /^ERR_UPSTREAM_(TLS|UNREACHABLE)$/);
    assert.equal(upstream.requests.length, 0);
  }
});

test('returns ERR_CREDENTIAL_UNAVAILABLE when our own TLS file is missing or malformed', async (t) => {
  const { app, folder } = await start(t);
  for (const spoil of [() => rm(join(folder, 'ca.pem')), () => writeFile(join(folder, 'ca.pem'), 'no PEM')]) {
    await spoil();
    app.reopenFiles();
    const response = await call(`${app.url}/x`);
    assertProblem(response, 'ERR_CREDENTIAL_UNAVAILABLE');
    assert.equal(response.headers['retry-after'], '1');
    assert.ok(!response.text.includes(folder));
  }
  await writeFile(join(folder, 'ca.pem'), authority.cert);
  assert.equal((await call(`${app.url}/x`)).status, 200);
});

test('distinguishes an untrusted certificate and plain http from an unreachable upstream and one that is silent', async (t) => {
  const mute = createTlsServer({ ...authority.issueServer(), SNICallback: () => {} });
  const { port } = await serve(t, mute);
  const untrusted = await startFakeUpstream(t, echo, { tls: authority.issueServer() });
  const plain = (await startFakeUpstream(t, echo)).url.replace('http:', 'https:');
  const upstreams = { mute: `https://localhost:${port}`, away: 'https://localhost:1', untrusted: untrusted.url, plain };
  const app = await startTestApp(t, {
    routes: Object.entries(upstreams).map(([name, upstream]) => ({
      name,
      match: { path: `/${name}` },
      upstream,
      credential: 'none',
      // The others fail by themselves.
      ...(name === 'mute' && { timeouts: { connect: '300ms' } }),
    })),
  });
  for (let i = 0; i < 2; i += 1) {
    assertProblem(await soon('the response', call(`${app.url}/mute`)), 'ERR_UPSTREAM_UNREACHABLE');
    assertProblem(await soon('the response', call(`${app.url}/away`)), 'ERR_UPSTREAM_UNREACHABLE');
    assertProblem(await soon('the response', call(`${app.url}/untrusted`)), 'ERR_UPSTREAM_TLS');
    assertProblem(await soon('the response', call(`${app.url}/plain`)), 'ERR_UPSTREAM_TLS');
  }
});

test('retries a request after the TLS files change', async (t) => {
  const upstream = await startFakeUpstream(t, echo, { tls: authority.issueServer() });
  const { write, tls } = tlsFiles(t, authority.cert);
  const { app, send } = await startGateway(t, { route: { upstream: upstream.url, tls } });
  let other = 0;
  upstream.handler = async (_request, response) => {
    upstream.handler = echo;
    write('ca.pem', `${authority.cert}\n${authority.cert}`);
    app.reopenFiles();
    other = (await send()).status;
    response.writeHead(401).end();
  };
  assert.equal((await send()).status, 200);
  assert.deepEqual([other, upstream.requests.length], [200, 3]);
});

/** An authorization server with two listeners: an open one, and one for token requests that requires a certificate. */
async function startGuarded(t: TestContext, client = authority.issueClient({ commonName: 'cambist' })) {
  const { write, tls } = tlsFiles(t, authority.cert, client);
  const server = authority.issueServer();
  const open = await startFakeAuthorizationServer(t, { tls: server });
  const guarded = await startFakeAuthorizationServer(t, { tls: { ...server, clientCa: authority.cert } });
  open.metadataBehaviour = {
    kind: 'document',
    fields: { mtls_endpoint_aliases: { token_endpoint: guarded.tokenEndpoint } },
  };
  const local = { issuer: open.issuer, client_id: 'cambist', client_auth: { method: 'tls_client_auth' }, tls };
  const gateway = await startGateway(t, { top: { authorization_servers: { local } } });
  return { ...gateway, open, guarded, write };
}

test('sends the token request to the mTLS endpoint, with client_id in the form', async (t) => {
  const { app, open, guarded, send } = await startGuarded(t);
  assert.equal((await send()).status, 200);
  assert.equal(open.requests.length, 0);
  const { form, headers } = guarded.requests[0] ?? { form: new URLSearchParams(), headers: {} };
  assert.equal(form.get('client_id'), 'cambist');
  assert.equal(headers.authorization, undefined);
  const expiry = await app.metric('cambist_credential_expiry_timestamp_seconds', {
    credential: 'authorization server "local"',
  });
  assert.ok(expiry > Date.now() / 1000);
});

test('returns ERR_STS_UNAVAILABLE when the server refuses the certificate, and uses a renewed one next', async (t) => {
  const { app, guarded, upstream, write, send } = await startGuarded(t, stranger.issueClient());
  assertProblem(await send(), 'ERR_STS_UNAVAILABLE');
  assert.equal(guarded.requests.length + upstream.requests.length, 0);
  const renewed = authority.issueClient();
  write('tls.crt', renewed.cert);
  write('tls.key', renewed.key);
  app.reopenFiles();
  assert.equal((await send()).status, 200);
  assert.equal(guarded.requests.length, 1);
});

test('presents to each server only its own certificate', async (t) => {
  const upstream = await startFakeUpstream(t, echo);
  const sides = await Promise.all(
    ['red', 'blue'].map(async (name) => {
      // This server refuses certificates of other authorities.
      const own = createCertificateAuthority(`authority of ${name}`);
      const client = own.issueClient({ commonName: `cambist at ${name}` });
      const server = await startFakeAuthorizationServer(t, { tls: { ...authority.issueServer(), clientCa: own.cert } });
      return { name, server, tls: tlsFiles(t, authority.cert, client).tls };
    }),
  );
  const app = await startTestApp(t, {
    authorization_servers: Object.fromEntries(
      sides.map(({ name, server, tls }) => [
        name,
        { issuer: server.issuer, client_id: name, client_auth: { method: 'tls_client_auth' }, tls },
      ]),
    ),
    routes: sides.map(({ name }) => ({
      name,
      match: { path: `/${name}` },
      upstream: `${upstream.url}/mcp`,
      authorization_server: name,
    })),
  });
  for (const { name, server } of sides) {
    const headers = { authorization: `Bearer ${await server.mint()}` };
    assert.equal((await call(`${app.url}/${name}`, { headers, body: '{}' })).status, 200);
    assert.deepEqual(server.sent('client_id'), [name]);
  }
});
