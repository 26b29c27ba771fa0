import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { routeTo, startTestApp } from '../../harness/app.ts';
import { type OnRequest, startBareUpstream } from '../../harness/bare-upstream.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { get } from '../../harness/disconnects.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { echo, respond, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { startGateway } from '../../harness/gateway.ts';
import { assertProblem, call, sendRaw } from '../../harness/http-call.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { words } from '../../harness/words.ts';

/** An app with an upstream that responds as the test says, on connections that stay open. */
async function startHostile(t: TestContext, onRequest: OnRequest) {
  const { origin, connections } = await startBareUpstream(t, onRequest);
  const routes = [{ name: 'raw', match: { path: '/' }, upstream: origin, credential: 'none' }];
  return { app: await startTestApp(t, { routes }), connections };
}

/** Everything that a caller receives when the upstream responds with these bytes. */
async function relayed(t: TestContext, bytes: string, afterwards: 'keep' | 'end' | 'reset' = 'keep') {
  const { app } = await startHostile(t, ({ socket }) => {
    socket.write(bytes, 'latin1', () => {
      if (afterwards === 'reset') socket.resetAndDestroy();
    });
    if (afterwards === 'end') socket.end();
  });
  return sendRaw(app.url, get('/', 'Connection: close\r\n'));
}

const OK = 'HTTP/1.1 200 OK\r\n';

test('returns 502 when the framing or syntax of a response is invalid', async (t) => {
  for (const [flaw, bytes] of [
    ['two lengths', `${OK}Content-Length: 2\r\nContent-Length: 5\r\n\r\nhi`],
    ['the same length twice', `${OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi`],
    ['a list of lengths', `${OK}Content-Length: 2, 2\r\n\r\nhi`],
    ['a length and chunks', `${OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`],
    ['chunks and a length', `${OK}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n`],
    ['an unsolicited coding', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`],
    ['an unknown coding', `${OK}Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`],
    ['a coding after chunked', `${OK}Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n`],
    ['chunked twice', `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`],
    ['a signed length', `${OK}Content-Length: +2\r\n\r\nhi`],
    ['a negative length', `${OK}Content-Length: -2\r\n\r\nhi`],
    ['a space before the colon', `${OK}Content-Length : 2\r\n\r\nhi`],
    ['a line without a colon', `${OK}Content-Length\r\n\r\n`],
    ['a folded header', `${OK}X-Folded: a\r\n b: c\r\nContent-Length: 2\r\n\r\nhi`],
    ['bare line feeds', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nhi'],
    ['NUL in a header', `${OK}X: a\0b\r\nContent-Length: 2\r\n\r\nhi`],
    ['a carriage return in a header', `${OK}X: a\rX-Injected: b\r\nContent-Length: 2\r\n\r\nhi`],
    ['a control character in a header', `${OK}X: a\x01b\r\nContent-Length: 2\r\n\r\nhi`],
    ['a space in a name', `${OK}X Odd: a\r\nContent-Length: 2\r\n\r\nhi`],
    ['no HTTP', 'not an HTTP response\r\n\r\n'],
    ['a request', 'GET / HTTP/1.1\r\n\r\n'],
    ['RTSP', 'RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['RTSP after an interim response', `HTTP/1.1 100 Continue\r\n\r\nRTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi`],
    ['ICE', '\r\nICE/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['SHOUTcast', 'ICY 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['version 0.9', 'HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['version 1.2', 'HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['version 2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['an unknown version', 'HTTP/3.7 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['no status', 'HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['an unsolicited upgrade', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi'],
  ] as const) {
    const text = await relayed(t, bytes);
    assert.match(text, /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/, flaw);
    assert.doesNotMatch(text, /X-Injected/, flaw);
  }
});

test('never completes a response whose body is truncated or malformed', async (t) => {
  for (const [flaw, bytes, afterwards] of [
    ['without a byte', '', 'end'],
    ['a reset before its first byte', '', 'reset'],
    ['shorter than its length', `${OK}Content-Length: 100\r\n\r\nhi`, 'end'],
    ['without its last chunk', `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n`, 'end'],
    ['a reset within its length', `${OK}Content-Length: 100\r\n\r\nhi`, 'reset'],
    ['a reset after a chunk', `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n`, 'reset'],
    ['in the middle of a chunk', `${OK}Transfer-Encoding: chunked\r\n\r\nff\r\nhi`, 'end'],
    ['no end of its trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n`, 'end'],
    ['a size with a prefix', `${OK}Transfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n`, 'keep'],
    ['a malformed size', `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n`, 'keep'],
    ['a chunk longer than its size', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n`, 'keep'],
    ['an overflowing size', `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nffffffffffffffffff\r\n`, 'keep'],
  ] as const) {
    const text = await relayed(t, bytes, afterwards);
    const isProblem = text.includes('ERR_UPSTREAM_UNREACHABLE');
    assert.ok(isProblem || (!text.endsWith('0\r\n\r\n') && text.startsWith(OK)), `${flaw}: ${text}`);
  }
});

test('drops interim responses up to a number and a length', async (t) => {
  const interim = (link: string) => `HTTP/1.1 103 Early Hints\r\nLink: ${link}\r\nX-Interim: 1\r\n\r\n`;
  const final = `${OK}Content-Length: 2\r\n\r\nhi`;
  const text = await relayed(t, interim('</x>').repeat(32) + final);
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*hi$/);
  assert.doesNotMatch(text, /X-Interim/);
  for (const flood of [interim('</x>').repeat(33), interim('x'.repeat(8000)).repeat(9)]) {
    const { app } = await startHostile(t, flood + final);
    assertProblem(await soon('the response', call(`${app.url}/`)), 'ERR_UPSTREAM_UNREACHABLE');
  }
});

test('removes hop-by-hop headers, and headers that the Connection header lists, and keeps the others in order', async (t) => {
  const text = await relayed(
    t,
    `${OK}Connection: close, x-secret, content-length, Content-Type , mcp-session-id,, ,"\r\nX-Secret: 1\r\nMcp-Session-Id: s\r\nContent-Type: text/plain\r\n` +
      'Set-Cookie: a=1\r\nset-cookie: b=2\r\nKeep-Alive: timeout=1\r\nProxy-Authenticate: Basic\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTrailer: X\r\nTE: x\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nhi',
  );
  assert.match(text, /\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Kept: 1\r\nContent-Length: 2\r\n/);
  assert.match(text, /\r\n\r\nhi$/);
  for (const name of words(`
    X-Secret Mcp-Session-Id Content-Type Keep-Alive Proxy-Authenticate Proxy-Connection Upgrade Trailer TE
  `)) {
    assert.doesNotMatch(text, new RegExp(`\\r\\n${name}:`, 'i'), name);
  }
  assert.equal(text.match(/\r\nConnection:/gi)?.length, 1);
});

test('drops trailers of a response', async (t) => {
  const text = await relayed(
    t,
    `${OK}Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n2\r\nhi\r\n0\r\nX-Late: 1\r\nSet-Cookie: a=b\r\n\r\n`,
  );
  assert.doesNotMatch(text, /X-Late|Set-Cookie/);
  assert.match(text, /2\r\nhi\r\n0\r\n\r\n$/);
});

const AUTHORITY = createCertificateAuthority('Example Corp CA');
const CLIENT_SECRET = 'Vn5tQz8LwKcX3yRd';

/** An https issuer, and a plain http port of this pod that must get no request. */
async function start(t: TestContext, { verify = false, allowInsecureHttp = false } = {}) {
  const write = writerInto(temporaryFolder(t));
  const adminPort = await startFakeUpstream(t, respond(200, { access_token: 'x', token_type: 'Bearer' }));
  const issuer = await startFakeAuthorizationServer(t, { tls: AUTHORITY.issueServer() });
  const url = `${adminPort.url}/quitquitquit?`;
  issuer.metadataBehaviour = { kind: 'document', fields: { [verify ? 'jwks_uri' : 'token_endpoint']: url } };
  const local = {
    issuer: issuer.issuer,
    client_id: 'cambist',
    client_auth: { method: 'client_secret_post', client_secret: write('secret', CLIENT_SECRET) },
    tls: { ca: write('ca.pem', AUTHORITY.cert) },
    allow_insecure_http: allowInsecureHttp,
  };
  const gateway = await startGateway(t, {
    authorizationServer: issuer,
    route: verify ? { subject_token: { verify: { issuer: issuer.issuer } } } : {},
    top: { authorization_servers: { local } },
  });
  return { ...gateway, issuer, adminRequests: adminPort.requests };
}

for (const allowInsecureHttp of [false, true]) {
  test(`sends nothing to a plain http token endpoint of an https issuer, allow_insecure_http: ${allowInsecureHttp}`, async (t) => {
    const { app, issuer, upstream, adminRequests, send } = await start(t, { allowInsecureHttp });
    assertProblem(await send(), 'ERR_STS_METADATA_INVALID');
    assert.match(
      JSON.stringify(await app.logged('not ready')),
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
  const red = await startFakeAuthorizationServer(t);
  const blue = await startFakeAuthorizationServer(t);
  const shared = await startFakeAuthorizationServer(t);
  const upstream = await startFakeUpstream(t, echo);
  for (const server of [red, blue]) {
    server.metadataBehaviour = { kind: 'document', fields: { token_endpoint: shared.tokenEndpoint } };
  }
  const client = { client_id: 'cambist', client_auth: { method: 'none' } };
  const route = (name: string) => routeTo(name, `${upstream.url}/mcp`, { authorization_server: name });
  const app = await startTestApp(t, {
    authorization_servers: { red: { issuer: red.issuer, ...client }, blue: { issuer: blue.issuer, ...client } },
    routes: [route('red'), route('blue')],
  });
  await app.logged('not ready');
  const send = async (name: string) =>
    call(`${app.url}/${name}`, { headers: { authorization: `Bearer ${await red.mint()}` }, body: '{}' });
  const responses = { red: await send('red'), blue: await send('blue') };
  const [served, refused] = responses.red.status === 200 ? (['red', 'blue'] as const) : (['blue', 'red'] as const);
  assert.equal(responses[served].status, 200);
  assertProblem(responses[refused], 'ERR_STS_METADATA_INVALID');
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
