import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { decodeJwt } from 'jose';
import { snippetFacts } from '../../../src/decisions/snippet-facts.ts';
import { SNIPPETS } from '../../../src/decisions/snippets.ts';
import { configOf, startTestApp } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import {
  echo,
  eventStream,
  type FakeUpstream,
  startFakeUpstream,
  type UpstreamHandler,
} from '../../harness/fake-upstream.ts';
import { clientOf, type GatewayOptions, startGateway } from '../../harness/gateway.ts';
import { type CallOptions, call, connectRaw, open } from '../../harness/http-call.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { startWebSocketServer } from '../../harness/web-socket-server.ts';
import { BY_GRPC } from '../dataplanes/mistakes.ts';
import { runEnvoy } from './envoy.ts';

/** `authz`: ext_authz over gRPC. */
type By = 'http' | 'grpc' | 'authz';

interface Setup extends Pick<GatewayOptions, 'handler' | 'route'> {
  /** How Envoy asks. Default: http. */
  readonly by?: By;
  /** Its keys. Default: a Unix socket. */
  readonly keys?: (folder: string) => Record<string, unknown>;
  readonly decisions?: Record<string, unknown>;
  readonly top?: Record<string, unknown>;
  readonly moreRoutes?: (docs: FakeUpstream) => Record<string, unknown>[];
  /** Changes what the snippet says. */
  readonly change?: (bootstrap: string) => string;
}

/** cambist, and an Envoy with its snippet. Afterwards, no backend may have got a caller's token. */
async function start(t: TestContext, setup: Setup = {}) {
  const {
    by = 'http',
    keys = socketIn,
    decisions = {},
    top: more,
    moreRoutes = by === 'authz' ? DOCS : undefined,
    change = (text) => text,
    ...options
  } = setup;
  const folder = temporaryFolder(t);
  const docs = await startFakeUpstream(t, echo);
  const top = {
    listen: `unix:${join(folder, 'listen.sock')}`,
    decisions: { [by === 'http' ? 'http' : 'grpc']: keys(folder), ...decisions },
    ...more,
  };
  const gateway = await startGateway(t, { ...options, top, ...(moreRoutes && { moreRoutes: moreRoutes(docs) }) });
  const found = snippetFacts(configOf(gateway.config));
  assert.ok('facts' in found);
  const asked = found.facts.decisions;
  const address = by === 'http' ? gateway.app.decisions : gateway.app.decisionsByGrpc;
  const chosen = asked.kind === 'tcp' ? { ...asked, port: Number(new URL(address ?? '').port) } : asked;
  const port = await freePort();
  const printed = SNIPPETS.envoy({ ...found.facts, decisions: chosen, isGrpc: by === 'grpc' });
  const edits = by === 'authz' ? BY_GRPC : [];
  const bootstrap = edits
    .reduce((text, [from, to]) => text.replace(from, to), printed)
    .replace('address: 0.0.0.0, port_value: 8080', `address: 127.0.0.1, port_value: ${port}`)
    .replaceAll('/etc/envoy/', `${folder}/`);
  await runEnvoy(t, change(bootstrap));
  const url = `http://127.0.0.1:${port}`;
  const callers = [gateway.subjectToken];
  const mint = async (subject: string) => {
    const token = await gateway.authorizationServer.mint({ subject });
    callers.push(token);
    return `Bearer ${token}`;
  };
  t.after(() => {
    for (const { url: target, rawHeaders } of [...gateway.upstream.requests, ...docs.requests]) {
      const received = [target, ...rawHeaders].join('\n');
      assert.ok(!callers.some((token) => received.includes(token)), `the backend got a caller's token: ${target}`);
    }
  });
  const ask = (path: string, options: CallOptions = {}) =>
    call(url, { path, ...options, headers: options.headers ?? { authorization: gateway.authorization } });
  return { ...gateway, docs, url, folder, mint, ask };
}

type Start = (t: TestContext, setup?: Setup) => ReturnType<typeof start>;

/** By ext_authz over HTTP, and by ext_proc over gRPC. */
function testBoth(title: string, run: (t: TestContext, start: Start, by: By) => Promise<void>): void {
  for (const by of ['http', 'grpc'] as const) {
    test(`${title}, by ${by}`, (t) => run(t, (context, setup) => start(context, { by, ...setup }), by));
  }
}

/** By ext_authz over gRPC as well. */
function testAll(title: string, run: (t: TestContext, start: Start, by: By) => Promise<void>): void {
  testBoth(title, run);
  test(`${title}, by ext_authz over gRPC`, (t) =>
    run(t, (context, setup) => start(context, { by: 'authz', ...setup }), 'authz'));
}

const socketIn = (folder: string) => ({ listen: `unix:${join(folder, 'decisions.sock')}` });

/** The issued token that a backend got last. */
function lastToken({ requests }: FakeUpstream): string {
  const [value = '', ...more] = requests.at(-1)?.authorization ?? [];
  assert.deepEqual(more, []);
  return value.replace('Bearer ', '');
}

const DOCS = (docs: FakeUpstream) => [
  { name: 'docs', match: { path: '/docs' }, upstream: `${docs.url}/v1/`, send: { header: 'X-Api-Key' } },
];

testAll('forwards with the issued token, cold and cached, and with no other credential', async (t, start) => {
  const { ask, upstream, authorization, authorizationServer, subjectToken } = await start(t);
  for (const _ of [1, 2]) {
    const { status } = await ask('/github/x?a=1', {
      method: 'POST',
      body: 'hello',
      headers: {
        authorization,
        'x-copy': `a ${subjectToken} b`,
        dpop: 'proof',
        X_Original_URL: '/docs',
        'X-HTTP-Method-Override': 'DELETE',
        'x-cambist-decision-secret': 'forged',
        'x-envoy-auth-headers-to-remove': 'host',
        'x-kept': 'yes',
      },
    });
    assert.equal(status, 200);
    const [request] = upstream.requests.slice(-1);
    assert.deepEqual([request?.method, request?.url], ['POST', '/mcp/x?a=1']);
    assert.equal(String(await request?.body()), 'hello');
    assert.equal(lastToken(upstream), authorizationServer.requests[0]?.issued);
    assert.equal(request?.headers.host, new URL(upstream.url).host);
    assert.equal(request?.headers['x-kept'], 'yes');
    for (const name of ['x-copy', 'dpop', 'x_original_url', 'x-http-method-override', 'x-cambist-decision-secret'])
      assert.equal(request?.headers[name], undefined, name);
  }
  assert.equal(authorizationServer.requests.length, 1);
});

testAll('two callers on one connection get a token each', async (t, start) => {
  const { ask, upstream, mint } = await start(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  for (const subject of ['alice', 'bob', 'alice', 'bob']) {
    const { status } = await ask('/github', { agent, headers: { authorization: await mint(subject) } });
    assert.deepEqual([status, decodeJwt(lastToken(upstream)).sub], [200, subject]);
  }
});

testAll('a refusal keeps its status, body and challenge, which leads to the metadata', async (t, start) => {
  const server = await startFakeAuthorizationServer(t);
  const { ask, upstream, url } = await start(t, {
    top: { authorization_servers: { local: { ...clientOf(server), issuer: server.issuer } } },
  });
  for (const headers of [{}, { authorization: 'Basic x' }, { authorization: 'Bearer a, Bearer b' }] as const) {
    const { status, headers: received, text } = await ask('/github/x', { headers });
    assert.equal(status, 401);
    assert.match(text, /"code":"ERR_SUBJECT_TOKEN_/);
    const challenge = String(received['www-authenticate']);
    assert.match(challenge, new RegExp(`resource_metadata="${url}/.well-known/oauth-protected-resource/github/x"`));
  }
  server.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  const refused = await ask('/github');
  assert.equal(refused.status, 401);
  assert.match(refused.text, /"code":"ERR_/);
  assert.equal(upstream.requests.length, 0);
});

testBoth('the metadata of a protected resource comes from cambist', async (t, start) => {
  const authority = { issuer: 'https://idp.example.com' };
  const { ask, url } = await start(t, {
    route: { subject_token: { verify: { issuer: authority.issuer, audience: 'cambist' } } },
  });
  const { status, text } = await ask('/.well-known/oauth-protected-resource/github', { headers: {} });
  assert.equal(status, 200);
  const { resource, authorization_servers: servers } = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual([resource, servers], [`${url}/github`, [authority.issuer]]);
  // Nothing else of `listen` is there.
  for (const path of ['/.well-known/oauth-protected-resource/../../github', '/.well-known/oauth-protected-resourcex'])
    assert.ok([401, 404].includes((await ask(path, { headers: {} })).status), path);
});

testAll('refuses two Authorization headers, in every form', async (t, start) => {
  const { url, upstream, authorization, mint } = await start(t);
  const other = await mint('bob');
  for (const lines of [
    [authorization, other],
    [authorization, authorization],
    [`${authorization},${other}`],
    ['', authorization, other],
  ]) {
    const connection = await connectRaw(url);
    const headers = lines
      .map((value, at) => `${at % 2 === 0 ? 'Authorization' : 'AUTHORIZATION'}: ${value}\r\n`)
      .join('');
    connection.send(`GET /github HTTP/1.1\r\nHost: localhost\r\n${headers}Connection: close\r\n\r\n`);
    assert.match(await connection.closed(), /^HTTP\/1\.1 401 /);
  }
  assert.equal(upstream.requests.length, 0);
});

testAll('waits for a slow authorization server, and refuses when it fails', async (t, start, by) => {
  const { ask, upstream, authorizationServer, mint } = await start(t);
  authorizationServer.queue.push({ kind: 'issue', delayMs: 700 });
  assert.equal((await ask('/github')).status, 200);
  authorizationServer.behaviour = { kind: 'reset' };
  const { status, text } = await ask('/github', { headers: { authorization: await mint('bob') } });
  // By HTTP, Envoy takes every 5xx for a fault of cambist, and drops its body.
  if (by === 'http') assert.deepEqual([status, text], [503, '']);
  else assert.match(text, /"code":"ERR_STS_/);
  assert.equal(upstream.requests.length, 1);
});

testAll('nothing passes while cambist is stopped', async (t, start) => {
  const { ask, app, upstream, config } = await start(t);
  assert.equal((await ask('/github')).status, 200);
  await app.stop(AbortSignal.abort());
  for (const headers of [undefined, {}, { authorization: 'Bearer x' }]) {
    assert.equal((await ask('/github', headers && { headers })).status, 503);
  }
  assert.equal(upstream.requests.length, 1);
  await startTestApp(t, config);
  assert.equal((await ask('/github')).status, 200);
});

testAll('the token is for the backend that Envoy chooses, however the path is written', async (t, start, by) => {
  const { ask, upstream, docs, authorizationServer } = await start(t, { moreRoutes: DOCS });
  const paths = {
    '/docs/x': '/v1/x',
    '/docs': '/v1/',
    '/github/../docs/x': '/v1/x',
    '/github/%2e%2e/docs/x': '/v1/x',
    '/docs//x': '/v1/x',
    '/docs/%78%20y?a=%2F..%2F': '/v1/x%20y?a=%2F..%2F',
  };
  for (const [path, received] of Object.entries(paths)) {
    assert.equal((await ask(path)).status, 200, path);
    const { url, headers, authorization } = docs.requests.at(-1) ?? {};
    assert.deepEqual([url, authorization], [received, []], path);
    assert.deepEqual(decodeJwt(String(headers?.['x-api-key'])).aud, `${docs.url}/v1`);
  }
  // By ext_proc, cambist refuses what no route of Envoy names.
  for (const path of ['/github%2f..%2fdocs', '/docs%5cx', '/docs/..%2fgithub', '/dOcs', '/', '/docsx'])
    assert.ok([400, by === 'grpc' ? 403 : 404].includes((await ask(path)).status), path);
  assert.equal((await ask('/docs/../github/x')).status, 200);
  assert.equal(upstream.requests.at(-1)?.url, '/mcp/x');
  assert.deepEqual(decodeJwt(lastToken(upstream)).aud, `${upstream.url}/mcp`);
  assert.deepEqual([upstream.requests.length, docs.requests.length], [1, Object.keys(paths).length]);
  assert.equal(authorizationServer.requests.length, 2);
});

testAll('a client cannot choose the route, nor bring the credential of another header', async (t, start) => {
  const { ask, authorization, docs, upstream } = await start(t, { moreRoutes: DOCS });
  const headers = {
    authorization,
    'x-api-key': 'forged',
    'x-forwarded-uri': '/github',
    'x-original-uri': '/github',
    'x-envoy-original-path': '/github',
    'x-cambist-route': 'github',
    'x-forwarded-host': 'github',
  };
  assert.equal((await ask('/docs', { headers })).status, 200);
  const received = docs.requests[0]?.headers ?? {};
  assert.equal(decodeJwt(String(received['x-api-key'])).aud, `${docs.url}/v1`);
  assert.deepEqual([received.authorization, received['x-original-uri']], [undefined, undefined]);
  assert.equal(upstream.requests.length, 0);
});

testBoth('a route that Envoy has no name for is refused', async (t, start) => {
  const { ask, docs } = await start(t, {
    moreRoutes: DOCS,
    // As if the operator had added a route, and forgotten its question.
    change: (text) =>
      text.replace('path_prefix: /ext-authz/docs', 'path_prefix: /no-route').replace('value: docs', 'value: no-route'),
  });
  assert.equal((await ask('/docs')).status, 403);
  assert.equal(docs.requests.length, 0);
});

const tools = (name: string) => ({ path: '/tools', mcp_method: 'tools/call', mcp_name: name });
const BY_MESSAGE = {
  decisions: { routes_by: 'match' },
  // By ext_authz over gRPC, Envoy 1.40 ignores `pack_as_bytes` of a route.
  change: (text: string) =>
    text.replace(
      /^( *)encode_raw_headers: true/m,
      '$&\n$1with_request_body: { max_request_bytes: 1048576, pack_as_bytes: true }',
    ),
  moreRoutes: (docs: FakeUpstream) => [
    { name: 'reads', match: tools('read'), upstream: `${docs.url}/mcp`, scope: 'read' },
    { name: 'writes', match: tools('write'), upstream: `${docs.url}/mcp`, scope: 'write' },
  ],
};
const callOf = (name: string, filler = '') =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: { filler } } });

/** A call of a tool, whose headers may name another one. */
function toolCall(authorization: string, name: string, body = callOf(name)) {
  const headers = {
    authorization,
    'content-type': 'application/json',
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/call',
    'mcp-name': name,
  };
  return { method: 'POST', headers: { ...headers, 'content-length': String(Buffer.byteLength(body)) }, body };
}

testAll('by match, each tool gets its own scope, from whole bodies', async (t, start) => {
  const { ask, authorization, docs, authorizationServer } = await start(t, BY_MESSAGE);
  for (const name of ['read', 'write']) {
    assert.equal((await ask('/tools', toolCall(authorization, name))).status, 200);
    assert.equal(decodeJwt(lastToken(docs)).scope, name);
    assert.equal(String(await docs.requests.at(-1)?.body()), callOf(name));
  }
  assert.equal((await ask('/tools', toolCall(authorization, 'read', callOf('write')))).status, 400);
  assert.equal((await ask('/tools', toolCall(authorization, 'other'))).status, 403);
  const large = toolCall(authorization, 'read', callOf('read', 'x'.repeat(2 ** 20)));
  assert.equal((await ask('/tools', large)).status, 413);
  assert.equal((await ask('/github')).status, 200);
  assert.deepEqual([docs.requests.length, authorizationServer.requests.length], [2, 3]);
});

testAll(
  'passes every byte of a tool call up to the limit, in chunks too, and refuses invalid UTF-8',
  async (t, start) => {
    const { ask, authorization, docs } = await start(t, BY_MESSAGE);
    // `retry_body_limit` of a route is 64 KiB, unless it is set.
    const ofSize = (size: number) => Buffer.from(callOf('read', 'x'.repeat(size - callOf('read').length)));
    const invalid = Buffer.from(callOf('read', 'xx'));
    invalid.set([0xc3, 0x28], invalid.indexOf('xx'));
    for (const [name, body, status] of [
      ['at the limit', ofSize(2 ** 16), 200],
      ['above the limit', ofSize(2 ** 16 + 1), 413],
      ['in chunks', ofSize(60_000), 200],
      ['invalid UTF-8', invalid, 403],
    ] as const) {
      const { headers } = toolCall(authorization, 'read');
      const framing =
        name === 'in chunks' ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(body.length) };
      const { 'content-length': _, ...rest } = headers;
      const response = await ask('/tools', { method: 'POST', headers: { ...rest, ...framing }, body });
      assert.equal(response.status, status, `${name}: ${response.text}`);
      if (status === 200) assert.ok(body.equals((await docs.requests.at(-1)?.body()) ?? assert.fail()), name);
    }
    assert.equal(docs.requests.length, 2);
  },
);

testBoth('refuses the part of a body that an operator lets through', async (t, start, by) => {
  const { ask, authorization, docs } = await start(t, {
    ...BY_MESSAGE,
    change: (text) =>
      text
        .replaceAll('max_request_bytes: 1048576', 'allow_partial_message: true, max_request_bytes: 64')
        .replaceAll('BUFFERED', 'BUFFERED_PARTIAL'),
  });
  const { status, text } = await ask('/tools', toolCall(authorization, 'read', callOf('read', 'x'.repeat(100))));
  assert.equal(status, by === 'http' ? 413 : 403);
  assert.match(text, by === 'http' ? /ERR_MESSAGE_TOO_LARGE/ : /ERR_ROUTE_NOT_FOUND/);
  assert.equal(docs.requests.length, 0);
});

testBoth('sends the secret from its file, in place of one that a client sends', async (t, start) => {
  const { ask, upstream, authorization } = await start(t, {
    keys: (folder) => {
      writeFileSync(join(folder, 'secret'), 'a-secret-of-the-data-plane\n');
      return { listen: '127.0.0.1:0', secret: { file: join(folder, 'secret') } };
    },
  });
  const headers = { authorization, 'x-cambist-decision-secret': 'forged' };
  assert.equal((await ask('/github', { headers })).status, 200);
  assert.equal(upstream.requests[0]?.headers['x-cambist-decision-secret'], undefined);
});

const authority = createCertificateAuthority();
const stranger = createCertificateAuthority('another CA');

for (const [title, server, client, status] of [
  ['asks cambist over mutual TLS', authority, authority, 200],
  ['asks no cambist with the certificate of another authority', stranger, authority, 503],
  ['gets nothing from cambist without the right certificate', authority, stranger, 503],
] as const) {
  testBoth(title, async (t, start) => {
    const { ask, upstream } = await start(t, {
      keys: (folder) => {
        const write = (name: string, text: string) => {
          writeFileSync(join(folder, name), text);
          return { file: join(folder, name) };
        };
        const own = server.issueServer();
        const { cert, key } = client.issueClient();
        write('cambist-ca.pem', authority.cert);
        write('client.pem', cert);
        write('client-key.pem', key);
        const tls = {
          certificate: write('tls.crt', own.cert),
          private_key: write('tls.key', own.key),
          client_ca: write('clients.pem', authority.cert),
        };
        return { listen: { address: '127.0.0.1:0', tls } };
      },
    });
    assert.equal((await ask('/github')).status, status);
    assert.equal(upstream.requests.length, status === 200 ? 1 : 0);
  });
}

testAll('passes event streams as they come, and the disconnect of the client', async (t, start) => {
  const stream = eventStream();
  const { url, authorization, upstream } = await start(t, { handler: stream.handler });
  const response = await open(`${url}/github`, { headers: { authorization, accept: 'text/event-stream' } });
  let received = '';
  response.setEncoding('utf8').on('data', (text: string) => {
    received += text;
  });
  for (const event of ['one', 'two']) {
    stream.emit(event);
    await eventually(event, () => received.endsWith(`data: ${event}\n\n`));
  }
  assert.equal(upstream.requests.length, 1);
  response.destroy();
  await stream.gone;
});

testAll('passes WebSockets, with the issued token in the handshake', async (t, start) => {
  const backend = await startWebSocketServer(t);
  const { url, authorization, authorizationServer } = await start(t, { route: { upstream: `${backend.url}/ws` } });
  const opened = async (value: string) => {
    const connection = await connectRaw(url);
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==';
    connection.send(`GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${value}\r\n${upgrade}\r\n\r\n`);
    t.after(() => connection.socket.destroy());
    return (await connection.until('\r\n\r\n')).slice(9, 12);
  };
  assert.equal(await opened('Bearer '), '401');
  assert.equal(await opened(authorization), '101');
  const [handshake, ...more] = backend.handshakes;
  assert.deepEqual(more, []);
  assert.equal(handshake?.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
});

testAll('an MCP client lists and calls tools, and shows why it was refused', async (t, start) => {
  const server = await startFakeAuthorizationServer(t);
  const backend = await startMcpBackend(t, { issuer: server.issuer, jwksUri: server.jwksUri });
  const { url } = await start(t, {
    route: { upstream: backend.url },
    top: { authorization_servers: { local: clientOf(server) } },
  });
  const connect = async (token: string) => {
    const client = new Client({ name: 'agent', version: '1' });
    t.after(() => client.close());
    const requestInit = { headers: { authorization: `Bearer ${token}` } };
    await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/github`), { requestInit }));
    return client;
  };
  const token = await server.mint();
  const client = await connect(token);
  assert.ok((await client.listTools()).tools.some(({ name }) => name === 'echo'));
  const { content } = await client.callTool({ name: 'echo', arguments: { message: 'hi' } });
  assert.match(JSON.stringify(content), /"hi"/);
  assert.ok(backend.requests.every(({ rawHeaders }) => !rawHeaders.join().includes(token)));
  server.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_target' } };
  await assert.rejects(connect(await server.mint({ subject: 'bob' })), /ERR_EXCHANGE_REFUSED/);
});

/** Refuses these tokens, and each further one while there are `more`. */
function refusing(more = 0) {
  const refused = new Set<string>();
  const handler: UpstreamHandler = async (request, response) => {
    const [token = ''] = request.authorization;
    if (refused.size < more) refused.add(token);
    await request.body();
    if (refused.has(token)) response.writeHead(401, { 'www-authenticate': 'Bearer resource_metadata="https://evil"' });
    response.end(token);
  };
  return { handler, refused };
}

test('after a 401, Envoy sends the request again with a new token', async (t) => {
  const { handler } = refusing(1);
  const { ask, upstream, authorizationServer, authorization, app } = await start(t, { by: 'grpc', handler });
  const message = { method: 'POST', body: 'x'.repeat(100_000), headers: { authorization, 'x-kept': 'yes' } };
  for (const requests of [2, 3]) {
    assert.equal((await ask('/github/x', message)).status, 200);
    assert.equal(upstream.requests.length, requests);
    const received = upstream.requests.at(-1);
    assert.equal(String(await received?.body()), message.body);
    assert.equal(received?.headers['x-kept'], 'yes');
    assert.equal(lastToken(upstream), authorizationServer.requests[1]?.issued);
  }
  assert.equal(authorizationServer.requests.length, 2);
  assert.match(await app.metrics(), /cambist_upstream_retries_total\{route="github",reason="token"\} 1/);
});

test('a backend that refuses each token is a fault of the backend, and its challenge stays away from the client', async (t) => {
  const { handler } = refusing(10);
  const { ask, upstream, app } = await start(t, { by: 'grpc', handler });
  const { status, headers, text } = await ask('/github');
  assert.equal(status, 502);
  assert.equal(headers['www-authenticate'], undefined);
  assert.match(text, /"code":"ERR_UPSTREAM_REFUSED_TOKEN"/);
  assert.equal(new Set(upstream.requests.map(({ authorization: [token] }) => token)).size, 2);
  await eventually('the log line', () => app.logText().includes('the backend refused a token'));
});

test('a request that Envoy cannot send again fails, and the next one has a new token', async (t) => {
  const { handler, refused } = refusing(1);
  const change = (text: string) => text.replaceAll('num_retries: 1', 'num_retries: 0');
  const { ask, upstream, authorizationServer } = await start(t, { by: 'grpc', handler, change });
  assert.equal((await ask('/github')).status, 502);
  assert.equal((await ask('/github')).status, 200);
  assert.deepEqual([upstream.requests.length, authorizationServer.requests.length], [2, 2]);
  assert.ok(!refused.has(`Bearer ${lastToken(upstream)}`));
});

test('a retry that gets no new token has the error of the exchange', async (t) => {
  const { handler } = refusing(1);
  const { ask, upstream, authorizationServer } = await start(t, { by: 'grpc', handler });
  const refusal = { kind: 'response', status: 400, body: { error: 'invalid_grant' } } as const;
  authorizationServer.queue.push({ kind: 'issue' }, refusal);
  const { status, text } = await ask('/github');
  assert.equal(status, 401);
  assert.match(text, /ERR_SUBJECT_TOKEN_INVALID/);
  assert.equal(upstream.requests.length, 1);
});

test('a backend that wants another sign-in keeps its token, and the client learns of it', async (t) => {
  const challenge = 'Bearer error="insufficient_user_authentication", acr_values="gold"';
  const handler: UpstreamHandler = (_request, response) => {
    response.writeHead(401, { 'www-authenticate': challenge }).end();
  };
  const { ask, authorizationServer } = await start(t, { by: 'grpc', handler });
  const { status, headers, text } = await ask('/github');
  assert.equal(status, 401);
  assert.match(String(headers['www-authenticate']), /acr_values="gold"/);
  assert.match(text, /ERR_INTERACTION_REQUIRED/);
  await ask('/github');
  assert.equal(authorizationServer.requests.length, 1);
});

test('many callers whose tokens are refused at once get a token each', async (t) => {
  const { handler, refused } = refusing();
  const { ask, upstream, mint } = await start(t, { by: 'grpc', handler });
  const callers = await Promise.all(
    ['a', 'b', 'c', 'd', 'e', 'f'].map(async (name) => [name, await mint(name)] as const),
  );
  const askAll = () =>
    Promise.all(
      callers.map(async ([name, authorization]) => {
        const { status, text } = await ask('/github', { headers: { authorization } });
        assert.deepEqual([status, decodeJwt(text.replace('Bearer ', '')).sub], [200, name]);
      }),
    );
  await askAll();
  for (const { authorization } of upstream.requests) refused.add(String(authorization));
  await askAll();
  assert.equal(upstream.requests.length, 3 * callers.length);
});

for (const [title, from, to] of [
  ['is off', /overrides: \{ grpc_initial_metadata.*\}/g, 'disabled: true'],
  ['skips requests', /^( *)(mutation_rules:.*)/m, '$1$2\n$1processing_mode: { request_header_mode: SKIP }'],
] as const) {
  test(`no attempt is sent where the filter of the listener ${title}`, async (t) => {
    const change = (text: string) => text.replace(from, to);
    const { ask, upstream, docs } = await start(t, { by: 'grpc', change, moreRoutes: DOCS });
    for (const path of ['/github', '/docs']) assert.equal((await ask(path)).status, 503);
    assert.deepEqual([upstream.requests.length, docs.requests.length], [0, 0]);
  });
}

for (const [title, isEach, status] of [
  ['no attempt is sent where another replica of cambist made the decision', true, 503],
  ['several replicas of cambist need no filter of attempts', false, 200],
] as const) {
  test(title, async (t) => {
    let second = '';
    const change = (text: string) => {
      const attempts = isEach
        ? text
        : text.replaceAll(/- name: cambist_attempts[\s\S]*?forwarding_namespaces.*\n */g, '');
      assert.equal(attempts.includes('cambist_attempts'), isEach);
      return attempts.replace(/\{ endpoint: .*?"([^"]*decisions\.sock)" \} \} \} \}/, (endpoint, path) => {
        second = `${path}-2`;
        return `${endpoint}, ${endpoint.replace(path, second)}`;
      });
    };
    const { ask, upstream, config, folder } = await start(t, { by: 'grpc', change });
    const decisions = { grpc: { listen: `unix:${second}` } };
    await startTestApp(t, { ...config, listen: `unix:${join(folder, 'listen-2.sock')}`, decisions });
    // Envoy asks both in turn.
    for (let i = 0; i < 4; i++) assert.equal((await ask('/github')).status, status);
    assert.equal(upstream.requests.length, isEach ? 0 : 4);
  });
}

for (const isRestarted of [true, false]) {
  test(`no retry is sent while cambist ${isRestarted ? 'knows nothing of the request after a restart' : 'is stopped'}`, async (t) => {
    let stop = async (): Promise<void> => {};
    const { ask, app, upstream, config } = await start(t, {
      by: 'grpc',
      async handler(_request, response) {
        await stop();
        response.writeHead(401).end();
      },
    });
    stop = async () => {
      await app.stop(AbortSignal.abort());
      if (isRestarted) await startTestApp(t, config);
    };
    assert.equal((await ask('/github')).status, 503);
    assert.equal(upstream.requests.length, 1);
  });
}

test('a retry whose token comes too late is not sent', async (t) => {
  const { handler } = refusing(1);
  const { ask, upstream, authorizationServer } = await start(t, {
    by: 'grpc',
    handler,
    change: (text) => text.replaceAll(/message_timeout: \d+s/g, 'message_timeout: 1s'),
  });
  authorizationServer.queue.push({ kind: 'issue' }, { kind: 'issue', delayMs: 2000 });
  assert.equal((await ask('/github')).status, 504);
  assert.equal(upstream.requests.length, 1);
});

test('a request that waits for its backend outlives a shutdown of cambist', async (t) => {
  const received = deferred<void>();
  const release = deferred<void>();
  const { ask } = await start(t, {
    by: 'grpc',
    async handler(_request, response) {
      received.resolve();
      await release.promise;
      response.end();
    },
  }).then((started) => {
    void received.promise.then(() => started.app.stop()).then(release.resolve);
    return started;
  });
  assert.equal((await ask('/github')).status, 200);
});
