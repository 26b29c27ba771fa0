import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond, startRawUpstream, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import { assertFinds, route, runDoctor, runOnProtected, startEcho, withMain } from './doctor-run.ts';

const AUTHORITY = createCertificateAuthority('Example Corp CA');

const runOnBackend = (t: TestContext, upstream: string, keys: Record<string, unknown> = {}) =>
  runDoctor(t, { routes: [route('free', { upstream, credential: 'none', ...keys })] });

/** A `tls.ca` file that contains the CA of these tests. */
function trusted(t: TestContext): Record<string, unknown> {
  return { tls: { ca: writerInto(temporaryFolder(t))('ca.pem', AUTHORITY.cert) } };
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

test('sends a backend an MCP request without a token, and reports the status', async (t) => {
  const server = await startFakeAuthorizationServer(t);
  const upstream = await startEcho(t);
  upstream.handler = respond(401, '', CHALLENGE);
  const github = route('github', { upstream: `${upstream.url}/mcp` });
  const { finding } = await runDoctor(t, withMain(server, github), { token: await server.mint() });
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

const GOOD = AUTHORITY.issueServer();
const NAMED = AUTHORITY.issueServer({ hosts: ['backend.internal'] });
const OLD = AUTHORITY.issueServer({ validFromSeconds: -7200, validUntilSeconds: -3600 });
for (const [tls, known, expected, pattern] of [
  [GOOD, true, 'ok backend_reached', /its certificate is trusted/],
  [GOOD, false, 'error certificate_untrusted', /issued by "Example Corp CA".*routes\.free\.tls\.ca/],
  [NAMED, true, 'error certificate_wrong_name', /localhost, but for "DNS:backend\.internal".*routes\.free\.upstream/],
  [OLD, true, 'error certificate_expired', /expired on \w{3} .* GMT.*clock of this machine/],
  [{ ...GOOD, clientCa: AUTHORITY.cert }, true, 'error client_certificate_required', /require a client certificate/],
] as const) {
  test(`reports ${expected} for a certificate of ${known ? 'the CA of the route' : 'another CA'}`, async (t) => {
    const { url } = await startEcho(t, tls);
    const result = await runOnBackend(t, url, known ? trusted(t) : {});
    if (expected.startsWith('error')) assertFinds(result, [expected], pattern);
    else assert.match(result.finding('backend_reached').what, pattern);
  });
}

test('reports https to a plain http port, and http to an https port', async (t) => {
  const plain = await startEcho(t);
  assertFinds(await runOnBackend(t, plain.url.replace('http:', 'https:')), ['error tls_failed'], /plain http/);
  const secure = await startEcho(t, AUTHORITY.issueServer());
  const wanted = await runOnBackend(t, secure.url.replace('https:', 'http:'));
  assertFinds(wanted, ['error tls_required'], /localhost:\d+ speaks TLS.*https:\/\/ in routes\.free\.upstream/);
  plain.handler = respond(400);
  assert.deepEqual((await runOnBackend(t, plain.url)).problems, [], 'a 400 may have other reasons');
});

test('reports an unknown host name, and a port without a listener', async (t) => {
  const unknown = await runOnBackend(t, 'https://no-such-backend.invalid/mcp');
  assertFinds(unknown, ['error host_unknown'], /no-such-backend\.invalid cannot be resolved/);
  const gone = await startEcho(t);
  await gone.close();
  const says = /nothing listens at 127\.0\.0\.1.*routes\.free\.upstream/;
  assertFinds(await runOnBackend(t, gone.url), ['error connection_refused'], says);
});

test('reports a slow handshake, and a slow response', async (t) => {
  const { url } = await startRawUpstream(t, '', 'keep');
  const { port } = new URL(url);
  const handshake = await runOnBackend(t, `https://localhost:${port}`, { timeouts: { connect: '200ms' } });
  assertFinds(handshake, ['error connection_timeout'], /200 ms.*routes\.free\.timeouts\.connect/);
  // The connect timeout does not apply once the connection is established.
  const silent = await runOnBackend(t, url, { timeouts: { connect: '1h' } });
  assertFinds(silent, ['warning backend_silent'], /did not respond within 3000 ms /);
});

test('names a missing CA file and sends nothing to the backend', async (t) => {
  const upstream = await startEcho(t, AUTHORITY.issueServer());
  const result = await runOnBackend(t, upstream.url, { tls: { ca: { file: '/nowhere/ca.pem' } } });
  assertFinds(result, ['error credential_unavailable'], /\/nowhere\/ca\.pem/);
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

for (const [status, headers, expected, says] of [
  [404, {}, 'error backend_endpoint_missing', /returns 404 to an MCP request at http:.*\/mcp/],
  [405, {}, 'error backend_endpoint_missing', /returns 405/],
  [307, { location: '/mcp/' }, 'error backend_redirects', /to "\/mcp\/" \(307\)/],
  [503, {}, 'error backend_error', /returns 503/],
] as const) {
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

interface Protected {
  readonly path?: string;
  readonly challenge?: string;
  readonly keys?: Record<string, unknown>;
}

/** The findings on a backend with protected resource metadata, for a route that requests its resource. */
function runWithMetadata(t: TestContext, metadata: (origin: string) => unknown, options: Protected = {}) {
  const { path = METADATA, challenge = 'Bearer', keys = { audience: undefined } } = options;
  const handler: UpstreamHandler = (request, response) => {
    if (request.url === path) return respond(200, metadata(`http://${request.headers.host}`))(request, response);
    return respond(request.method === 'POST' ? 401 : 404, '', { 'www-authenticate': challenge })(request, response);
  };
  return runOnProtected(t, handler, keys);
}

test('compares the resource and the authorization server with the metadata of the backend', async (t) => {
  const run = (authorization_servers: string[]) =>
    runWithMetadata(t, (origin) => ({ resource: `${origin}/mcp`, authorization_servers }));
  assert.deepEqual((await run([])).found, ['ok backend_reached', 'ok resource_matches']);
  const { found, finding, server } = await run(['https://other.example.com']);
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_matches', 'error backend_issuer_differs']);
  const { what } = finding('backend_issuer_differs');
  assert.ok(what.includes('"https://other.example.com"') && what.includes(`"${server.issuer}"`));
});

test('accepts an authorization server that differs in the trailing slash', async (t) => {
  const server = await startFakeAuthorizationServer(t);
  const upstream = await startEcho(t);
  const metadata = { resource: `${upstream.url}/mcp`, authorization_servers: [`${server.issuer}/`] };
  upstream.handler = handlers({
    'POST /mcp': respond(401, '', CHALLENGE),
    [`GET ${METADATA}`]: respond(200, metadata),
  });
  const { finding } = await runDoctor(
    t,
    withMain(server, route('github', { upstream: `${upstream.url}/mcp`, audience: undefined })),
  );
  assert.equal(finding('backend_issuer_matches').severity, 'ok');
});

const OTHER = () => ({ resource: 'https://docs.example.com/mcp' });

test('reports a resource that differs from the metadata, and names a trailing slash', async (t) => {
  const slash = await runWithMetadata(t, OTHER, {
    keys: { audience: undefined, resource: 'https://docs.example.com/mcp/' },
  });
  assert.deepEqual(slash.found, ['ok backend_reached', 'error resource_differs']);
  assert.match(slash.finding('resource_differs').why ?? '', /trailing slash/);
  const byUpstream = await runWithMetadata(t, OTHER);
  const { what, fix } = byUpstream.finding('resource_differs');
  assert.ok(what.includes('"https://docs.example.com/mcp"') && what.includes(`"${byUpstream.upstream.url}/mcp"`));
  assert.equal(fix, 'set routes.github.resource to "https://docs.example.com/mcp"');
});

test('only notes the resource of a backend that the route names by audience', async (t) => {
  const { found, finding } = await runWithMetadata(t, OTHER, { keys: {} });
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_not_requested']);
  assert.match(finding('resource_not_requested').what, /the route requests none/);
});

test('reads the metadata at the path that the challenge names, but from the backend only', async (t) => {
  const stranger = await startEcho(t);
  const path = '/custom/metadata?of=mcp';
  const challenge = `Bearer resource_metadata="${stranger.url}${path}"`;
  const { found } = await runWithMetadata(t, (origin) => ({ resource: `${origin}/mcp` }), { path, challenge });
  assert.deepEqual(found, ['ok backend_reached', 'ok resource_matches']);
  assert.deepEqual(stranger.requests, []);
});

test('ignores metadata that is malformed', async (t) => {
  for (const body of ['<html></html>', '[]', '{"resource": 7}']) {
    assert.deepEqual((await runWithMetadata(t, () => body)).found, ['ok backend_reached']);
  }
});
