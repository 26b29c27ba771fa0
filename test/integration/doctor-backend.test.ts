import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { route, runDoctor, runOnProtected, startEcho, withMain } from './doctor-run.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');

async function runOnBackend(t: TestContext, upstream: string, keys: Record<string, unknown> = {}) {
  const { findings } = await runDoctor(t, { routes: [route('free', { upstream, credential: 'none', ...keys })] });
  const [{ severity, code, what, why = '', fix = '' } = assert.fail()] = findings;
  return { found: `${severity} ${code}`, what, why, fix };
}

/** A `tls.ca` file that contains the CA of these tests. */
function trusted(t: TestContext): Record<string, unknown> {
  const folder = temporaryFolder(t);
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

/** Responses by method and path, as `POST /mcp`; all others get 404. */
function handlers(responses: Record<string, UpstreamHandler>): UpstreamHandler {
  return (request, response) => (responses[`${request.method} ${request.url}`] ?? respond(404))(request, response);
}

const CHALLENGE = { 'www-authenticate': 'Bearer' };

/** 401 to requests with this MCP method, 404 to others. */
function understands(method: string): UpstreamHandler {
  return async (request, response) => {
    const text = String(await request.body());
    const known = text !== '' && JSON.parse(text).method === method;
    await respond(known ? 401 : 404, '', known ? CHALLENGE : {})(request, response);
  };
}

const FAULTS: [status: number, headers: Record<string, string>, found: string, says: RegExp][] = [
  [404, {}, 'error backend_endpoint_missing', /returns 404 to an MCP request at http:.*\/mcp/],
  [405, {}, 'error backend_endpoint_missing', /returns 405/],
  [307, { location: '/mcp/' }, 'error backend_redirects', /to "\/mcp\/" \(307\)/],
  [503, {}, 'error backend_error', /returns 503/],
];

test('sends a backend an MCP request without a token, and reports the status', async (t) => {
  const server = await startFakeAuthorizationServer(t);
  const upstream = await startEcho(t);
  upstream.handler = respond(401, '', { 'www-authenticate': 'Bearer' });
  const { finding } = await runDoctor(t, withMain(server, route('github', { upstream: `${upstream.url}/mcp` })), {
    token: await server.mint(),
  });
  assert.equal(finding('backend_reached').what, `the backend ${upstream.url} returns 401 without a token`);
  const [first, ...others] = upstream.requests;
  assert.deepEqual([first?.method, first?.url], ['POST', '/mcp']);
  assert.equal(JSON.parse(String(await first?.body())).method, 'initialize');
  assert.deepEqual(
    others.map(({ method, url }) => `${method} ${url}`),
    ['GET /.well-known/oauth-protected-resource/mcp', 'GET /.well-known/oauth-protected-resource'],
  );
  assert.ok(upstream.requests.every(({ authorization }) => authorization.length === 0));
});

test("verifies the certificate with the route's CA", async (t) => {
  const { url } = await startEcho(t, AUTHORITY.issueServer());
  const { found, what } = await runOnBackend(t, url, trusted(t));
  assert.equal(found, 'ok backend_reached');
  assert.match(what, /its certificate is trusted/);
});

test('reports an untrusted certificate, and the setting for its CA', async (t) => {
  const { url } = await startEcho(t, AUTHORITY.issueServer());
  const { found, what, fix } = await runOnBackend(t, url);
  assert.equal(found, 'error certificate_untrusted');
  assert.match(what, /issued by "Example Corp CA"/);
  assert.match(fix, /routes\.free\.tls\.ca/);
});

test('reports a certificate with another name, and an expired one', async (t) => {
  const other = await startEcho(t, AUTHORITY.issueServer({ hosts: ['backend.internal'] }));
  const named = await runOnBackend(t, other.url, trusted(t));
  assert.equal(named.found, 'error certificate_wrong_name');
  assert.match(named.fix, /routes\.free\.upstream/);
  const old = await startEcho(t, AUTHORITY.issueServer({ validFromSeconds: -7200, validUntilSeconds: -3600 }));
  assert.equal((await runOnBackend(t, old.url, trusted(t))).found, 'error certificate_expired');
});

test('reports a backend that requires a client certificate', async (t) => {
  const { url } = await startEcho(t, { ...AUTHORITY.issueServer(), clientCa: AUTHORITY.cert });
  const { found, why } = await runOnBackend(t, url, trusted(t));
  assert.equal(found, 'error client_certificate_required');
  assert.match(why, /require a client certificate/);
});

test('reports https to a plain http port, and http to an https port', async (t) => {
  const plain = await startEcho(t);
  const failed = await runOnBackend(t, plain.url.replace('http:', 'https:'));
  assert.equal(failed.found, 'error tls_failed');
  const secure = await startEcho(t, AUTHORITY.issueServer());
  const wanted = await runOnBackend(t, secure.url.replace('https:', 'http:'));
  assert.equal(wanted.found, 'error tls_required');
  assert.match(wanted.fix, /https:\/\/ in routes\.free\.upstream/);
});

test('accepts a 400 from a plain http backend', async (t) => {
  const upstream = await startEcho(t);
  upstream.handler = respond(400);
  assert.equal((await runOnBackend(t, upstream.url)).found, 'ok backend_reached');
});

test('reports an unknown host name, and a port without a listener', async (t) => {
  const unknown = await runOnBackend(t, 'https://no-such-backend.invalid/mcp');
  assert.equal(unknown.found, 'error host_unknown');
  const gone = await startEcho(t);
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
  assert.match(silent.what, /did not respond within 3000 ms$/);
});

test('names a missing CA file and sends nothing to the backend', async (t) => {
  const upstream = await startEcho(t, AUTHORITY.issueServer());
  const { found, what } = await runOnBackend(t, upstream.url, { tls: { ca: { file: '/nowhere/ca.pem' } } });
  assert.equal(found, 'error credential_unavailable');
  assert.match(what, /\/nowhere\/ca\.pem/);
  assert.equal(upstream.requests.length, 0);
});

for (const method of ['initialize', 'server/discover']) {
  test(`a backend that knows only ${method} is healthy`, async (t) => {
    const { found, finding } = await runOnProtected(t, understands(method));
    assert.deepEqual(found, ['ok backend_reached']);
    assert.match(finding('backend_reached').what, /returns 401 without a token/);
  });
}

test('a backend of the old HTTP+SSE transport is healthy', async (t) => {
  const stream: UpstreamHandler = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('event: endpoint\ndata: /messages\n\n');
  };
  const { found } = await runOnProtected(t, handlers({ 'POST /mcp': respond(405), 'GET /mcp': stream }));
  assert.deepEqual(found, ['ok backend_reached']);
});

for (const [status, headers, expected, says] of FAULTS) {
  test(`reports ${expected} for ${status}`, async (t) => {
    const { found, finding } = await runOnProtected(t, respond(status, '', headers));
    assert.deepEqual(found, [expected]);
    assert.match(finding(expected.split(' ')[1] ?? '').what, says);
  });
}

test('warns about a 401 without a Bearer challenge', async (t) => {
  const { found } = await runOnProtected(t, respond(401, '', { 'www-authenticate': 'Basic realm="x"' }));
  assert.deepEqual(found, ['ok backend_reached', 'warning challenge_missing']);
});

test('warns about a backend that returns a web page to an MCP request', async (t) => {
  const page = respond(200, '<!doctype html><title>Welcome</title>', { 'content-type': 'text/html; charset=utf-8' });
  const { found, finding } = await runOnProtected(t, page);
  assert.deepEqual(found, ['ok backend_reached', 'warning backend_not_mcp']);
  assert.match(finding('backend_not_mcp').fix ?? '', /^set routes\.github\.upstream to the URL of the MCP endpoint/);
});

test('warns about a backend that accepts an MCP request without a token, and ends the session', async (t) => {
  const result = { jsonrpc: '2.0', id: 1, result: {} };
  const opened = respond(200, result, { 'mcp-session-id': 's-1' });
  const { found, upstream } = await runOnProtected(t, handlers({ 'POST /mcp': opened, 'DELETE /mcp': respond(204) }));
  assert.deepEqual(found, ['ok backend_reached', 'warning backend_open']);
  const ended = upstream.requests.find(({ method }) => method === 'DELETE');
  assert.equal(ended?.headers['mcp-session-id'], 's-1');
  const event = `event: message\ndata: ${JSON.stringify(result)}\n\n`;
  // Servers that can resume a stream begin it with an event that has an id and no data.
  for (const stream of [event, `id: 1\ndata: \n\n${event}`, `: hello\r\n\r\n${event.replaceAll('\n', '\r\n')}`]) {
    const streamed = await runOnProtected(t, respond(200, stream, { 'content-type': 'text/event-stream' }));
    assert.deepEqual(streamed.found, ['ok backend_reached', 'warning backend_open']);
  }
});

const METADATA = '/.well-known/oauth-protected-resource/mcp';

/** A backend with protected resource metadata at this path. */
function protectedBy(path: string, metadata: (origin: string) => unknown, challenge = 'Bearer'): UpstreamHandler {
  return (request, response) => {
    const origin = `http://${request.headers.host}`;
    if (request.url === path) return respond(200, metadata(origin))(request, response);
    const headers = { 'www-authenticate': challenge.replace('ORIGIN', origin) };
    return respond(request.method === 'POST' ? 401 : 404, '', headers)(request, response);
  };
}

test('compares the resource and the authorization server with the metadata of the backend', async (t) => {
  let issuers: string[] = [];
  const keys = { audience: undefined };
  const handler = protectedBy(METADATA, (origin) => ({ resource: `${origin}/mcp`, authorization_servers: issuers }));
  const unlisted = await runOnProtected(t, handler, keys);
  assert.deepEqual(unlisted.found, ['ok backend_reached', 'ok resource_matches']);
  issuers = ['https://other.example.com'];
  const { found, finding, server } = await runOnProtected(t, handler, keys);
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_matches', 'error backend_issuer_differs']);
  const { what } = finding('backend_issuer_differs');
  assert.ok(what.includes('"https://other.example.com"') && what.includes(`"${server.issuer}"`));
});

test('accepts an authorization server that differs in the trailing slash', async (t) => {
  const server = await startFakeAuthorizationServer(t);
  const upstream = await startEcho(t);
  const servers = [`${server.issuer}/`];
  upstream.handler = protectedBy(METADATA, (origin) => ({ resource: `${origin}/mcp`, authorization_servers: servers }));
  const { finding } = await runDoctor(
    t,
    withMain(server, route('github', { upstream: `${upstream.url}/mcp`, audience: undefined })),
  );
  assert.equal(finding('backend_issuer_matches').severity, 'ok');
});

test('reports a resource that differs from the metadata, and names a trailing slash', async (t) => {
  const other = { resource: 'https://docs.example.com/mcp' };
  const keys = { audience: undefined, resource: 'https://docs.example.com/mcp/' };
  const slash = await runOnProtected(
    t,
    protectedBy(METADATA, () => other),
    keys,
  );
  assert.deepEqual(slash.found, ['ok backend_reached', 'error resource_differs']);
  assert.match(slash.finding('resource_differs').why ?? '', /trailing slash/);
  const byUpstream = await runOnProtected(
    t,
    protectedBy(METADATA, () => other),
    { audience: undefined },
  );
  const { what, fix } = byUpstream.finding('resource_differs');
  assert.ok(what.includes('"https://docs.example.com/mcp"') && what.includes(`"${byUpstream.upstream.url}/mcp"`));
  assert.equal(fix, 'set routes.github.resource to "https://docs.example.com/mcp"');
});

test('only notes the resource of a backend that the route names by audience', async (t) => {
  const handler = protectedBy(METADATA, () => ({ resource: 'https://docs.example.com/mcp' }));
  const { found, finding } = await runOnProtected(t, handler);
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_not_requested']);
  assert.match(finding('resource_not_requested').what, /the route requests none/);
});

test('reads the metadata at the path that the challenge names, but from the backend only', async (t) => {
  const stranger = await startEcho(t);
  const challenge = `Bearer resource_metadata="${stranger.url}/custom/metadata?of=mcp"`;
  const handler = protectedBy('/custom/metadata?of=mcp', (origin) => ({ resource: `${origin}/mcp` }), challenge);
  const { found } = await runOnProtected(t, handler, { audience: undefined });
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_matches']);
  assert.deepEqual(stranger.requests, []);
});

test('ignores metadata that is malformed', async (t) => {
  for (const body of ['<html></html>', '[]', '{"resource": 7}']) {
    const { found } = await runOnProtected(
      t,
      protectedBy(METADATA, () => body),
      { audience: undefined },
    );
    assert.deepEqual(found, ['ok backend_reached']);
  }
});
