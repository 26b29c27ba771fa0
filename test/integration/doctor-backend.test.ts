import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Certificate, createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeUpstream, startFakeUpstream } from '../harness/fake-upstream.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { startHttp2Gateway } from '../harness/http2-gateway.ts';
import { answer, echo } from '../harness/upstream-handlers.ts';
import { publicServer, route, runDoctor } from './doctor-run.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');

async function startUpstream(t: TestContext, tls?: Certificate & { clientCa?: string }): Promise<FakeUpstream> {
  const upstream = await startFakeUpstream(echo, tls === undefined ? {} : { tls });
  t.after(upstream.close);
  return upstream;
}

/** The finding on a backend, for a route that needs no token. */
async function runOnBackend(t: TestContext, upstream: string, keys: Record<string, unknown> = {}) {
  const { findings } = await runDoctor(t, { routes: [route('free', { upstream, credential: 'none', ...keys })] });
  const [{ severity, code, what, why = '', fix = '' } = assert.fail()] = findings;
  return { found: `${severity} ${code}`, what, why, fix };
}

/** A `tls.ca` file that contains the CA of these tests. */
function trusted(t: TestContext): Record<string, unknown> {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-doctor-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'ca.pem'), AUTHORITY.cert);
  return { tls: { ca: { file: join(folder, 'ca.pem') } } };
}

/** Accepts connections but never responds. */
async function startSilence(t: TestContext): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(server);
  });
  return (await listen(server)).port;
}

test('reaches a backend with any response, and sends it no token', async (t) => {
  const server = await startFakeAuthorizationServer();
  t.after(server.close);
  const upstream = await startUpstream(t);
  upstream.handler = answer(401);
  const written = {
    authorization_servers: { main: publicServer(server.issuer) },
    routes: [route('github', { upstream: `${upstream.url}/mcp` })],
  };
  const { finding } = await runDoctor(t, written, { token: await server.mint() });
  assert.equal(finding('backend_reached').what, `the backend ${upstream.url} responds`);
  assert.deepEqual(
    upstream.requests.map(({ method, url, authorization }) => [method, url, authorization]),
    [['HEAD', '/mcp', []]],
  );
});

test('uses HTTP/2 for a backend with http2', async (t) => {
  let answers = true;
  const { state, ca, config } = await startHttp2Gateway(t, (_request, response) => {
    if (answers) response.end();
  });
  const ask = () => runOnBackend(t, String(config.routes[0]?.upstream), { http2: true, tls: { ca: { file: ca } } });
  assert.equal((await ask()).found, 'ok backend_reached');
  assert.deepEqual([state.requests[0]?.httpVersion, state.requests[0]?.method], ['2.0', 'HEAD']);
  answers = false;
  assert.equal((await ask()).found, 'warning backend_silent');
});

test("verifies the certificate with the route's CA", async (t) => {
  const { url } = await startUpstream(t, AUTHORITY.issueServer());
  const { found, what } = await runOnBackend(t, url, trusted(t));
  assert.equal(found, 'ok backend_reached');
  assert.match(what, /its certificate is trusted/);
});

test('reports an untrusted certificate, and the setting for its CA', async (t) => {
  const { url } = await startUpstream(t, AUTHORITY.issueServer());
  const { found, what, fix } = await runOnBackend(t, url);
  assert.equal(found, 'error certificate_untrusted');
  assert.match(what, /issued by "Example Corp CA"/);
  assert.match(fix, /routes\.free\.tls\.ca/);
});

test('reports a certificate with another name, and an expired one', async (t) => {
  const other = await startUpstream(t, AUTHORITY.issueServer({ hosts: ['backend.internal'] }));
  const named = await runOnBackend(t, other.url, trusted(t));
  assert.equal(named.found, 'error certificate_wrong_name');
  assert.match(named.fix, /routes\.free\.upstream/);
  const old = await startUpstream(t, AUTHORITY.issueServer({ validFromSeconds: -7200, validUntilSeconds: -3600 }));
  assert.equal((await runOnBackend(t, old.url, trusted(t))).found, 'error certificate_expired');
});

test('reports a backend that requires a client certificate', async (t) => {
  const { url } = await startUpstream(t, { ...AUTHORITY.issueServer(), clientCa: AUTHORITY.cert });
  const { found, why } = await runOnBackend(t, url, trusted(t));
  assert.equal(found, 'error client_certificate_required');
  assert.match(why, /require a client certificate/);
});

test('reports https to a plain http port, and http to an https port', async (t) => {
  const plain = await startUpstream(t);
  const failed = await runOnBackend(t, plain.url.replace('http:', 'https:'));
  assert.equal(failed.found, 'error tls_failed');
  const secure = await startUpstream(t, AUTHORITY.issueServer());
  const wanted = await runOnBackend(t, secure.url.replace('https:', 'http:'));
  assert.equal(wanted.found, 'error tls_required');
  assert.match(wanted.fix, /https:\/\/ in routes\.free\.upstream/);
});

test('accepts a 400 from a plain http backend', async (t) => {
  const upstream = await startUpstream(t);
  upstream.handler = answer(400);
  assert.equal((await runOnBackend(t, upstream.url)).found, 'ok backend_reached');
});

test('reports an unknown host name, and a port without a listener', async (t) => {
  const unknown = await runOnBackend(t, 'https://no-such-backend.invalid/mcp');
  assert.equal(unknown.found, 'error host_unknown');
  const gone = await startUpstream(t);
  await gone.close();
  const refused = await runOnBackend(t, gone.url);
  assert.equal(refused.found, 'error connection_refused');
  assert.match(refused.fix, /routes\.free\.upstream/);
});

test('reports a slow handshake, and a slow response', async (t) => {
  const port = await startSilence(t);
  const handshake = await runOnBackend(t, `https://localhost:${port}`, { timeouts: { connect: '200ms' } });
  assert.equal(handshake.found, 'error connection_timeout');
  assert.match(handshake.fix, /routes\.free\.timeouts\.connect/);
  // The connect timeout does not apply once the connection is established.
  const silent = await runOnBackend(t, `http://127.0.0.1:${port}`, { timeouts: { connect: '1h' } });
  assert.equal(silent.found, 'warning backend_silent');
  assert.match(silent.what, /did not respond to HEAD within 3000 ms$/);
});

test('names a missing CA file and sends nothing to the backend', async (t) => {
  const upstream = await startUpstream(t, AUTHORITY.issueServer());
  const { found, what } = await runOnBackend(t, upstream.url, { tls: { ca: { file: '/nowhere/ca.pem' } } });
  assert.equal(found, 'error credential_unavailable');
  assert.match(what, /\/nowhere\/ca\.pem/);
  assert.equal(upstream.requests.length, 0);
});
