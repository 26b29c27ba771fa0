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
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { echo, eventStream, type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { clientOf, type GatewayOptions, startGateway } from '../../harness/gateway.ts';
import { type CallOptions, call, connectRaw, open } from '../../harness/http-call.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { startWebSocketServer } from '../../harness/web-socket-server.ts';
import { runEnvoy } from './envoy.ts';

interface Setup extends Pick<GatewayOptions, 'handler' | 'route'> {
  /** Keys of `decisions.http`. Default: a Unix socket. */
  readonly http?: (folder: string) => Record<string, unknown>;
  readonly decisions?: Record<string, unknown>;
  readonly top?: Record<string, unknown>;
  readonly moreRoutes?: (docs: FakeUpstream) => Record<string, unknown>[];
  /** Changes what the snippet says. */
  readonly change?: (bootstrap: string) => string;
}

/** cambist, and an Envoy with its snippet. Afterwards, no backend may have got a caller's token. */
async function start(t: TestContext, setup: Setup = {}) {
  const { http = socketIn, decisions = {}, top: more, moreRoutes, change = (text) => text, ...options } = setup;
  const folder = temporaryFolder(t);
  const docs = await startFakeUpstream(t, echo);
  const top = {
    listen: `unix:${join(folder, 'listen.sock')}`,
    decisions: { http: http(folder), ...decisions },
    ...more,
  };
  const gateway = await startGateway(t, { ...options, top, ...(moreRoutes && { moreRoutes: moreRoutes(docs) }) });
  const found = snippetFacts(configOf(gateway.config));
  assert.ok('facts' in found);
  const asked = found.facts.decisions;
  const chosen = asked.kind === 'tcp' ? { ...asked, port: Number(new URL(gateway.app.decisions ?? '').port) } : asked;
  const port = await freePort();
  const bootstrap = SNIPPETS.envoy({ ...found.facts, decisions: chosen })
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

test('forwards with the issued token, cold and cached, and with no other credential', async (t) => {
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

test('two callers on one connection get a token each', async (t) => {
  const { ask, upstream, mint } = await start(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  for (const subject of ['alice', 'bob', 'alice', 'bob']) {
    const { status } = await ask('/github', { agent, headers: { authorization: await mint(subject) } });
    assert.deepEqual([status, decodeJwt(lastToken(upstream)).sub], [200, subject]);
  }
});

test('a refusal keeps its status, body and challenge, which leads to the metadata', async (t) => {
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

test('the metadata of a protected resource comes from cambist', async (t) => {
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

test('refuses two Authorization headers, in every form', async (t) => {
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

test('waits for a slow authorization server, and refuses when it fails', async (t) => {
  const { ask, upstream, authorizationServer, mint } = await start(t);
  authorizationServer.queue.push({ kind: 'issue', delayMs: 700 });
  assert.equal((await ask('/github')).status, 200);
  authorizationServer.behaviour = { kind: 'reset' };
  // Envoy takes every 5xx for a fault of cambist, and drops its body.
  const { status, text } = await ask('/github', { headers: { authorization: await mint('bob') } });
  assert.deepEqual([status, text], [503, '']);
  assert.equal(upstream.requests.length, 1);
});

test('nothing passes while cambist is stopped', async (t) => {
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

test('the token is for the backend that Envoy chooses, however the path is written', async (t) => {
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
  for (const path of ['/github%2f..%2fdocs', '/docs%5cx', '/docs/..%2fgithub', '/dOcs', '/', '/docsx'])
    assert.ok([400, 404].includes((await ask(path)).status), path);
  assert.equal((await ask('/docs/../github/x')).status, 200);
  assert.equal(upstream.requests.at(-1)?.url, '/mcp/x');
  assert.deepEqual(decodeJwt(lastToken(upstream)).aud, `${upstream.url}/mcp`);
  assert.deepEqual([upstream.requests.length, docs.requests.length], [1, Object.keys(paths).length]);
  assert.equal(authorizationServer.requests.length, 2);
});

test('a client cannot choose the route, nor bring the credential of another header', async (t) => {
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

test('a route that Envoy has no name for is refused', async (t) => {
  const { ask, docs } = await start(t, {
    moreRoutes: DOCS,
    // As if the operator had added a route, and forgotten its question.
    change: (text) => text.replace('path_prefix: /ext-authz/docs', 'path_prefix: /no-route'),
  });
  assert.equal((await ask('/docs')).status, 403);
  assert.equal(docs.requests.length, 0);
});

const tools = (name: string) => ({ path: '/tools', mcp_method: 'tools/call', mcp_name: name });
const BY_MESSAGE = {
  decisions: { routes_by: 'match' },
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

test('by match, each tool gets its own scope, from whole bodies', async (t) => {
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

test('refuses the part of a body that an operator lets through', async (t) => {
  const { ask, authorization, docs } = await start(t, {
    ...BY_MESSAGE,
    change: (text) =>
      text.replaceAll('max_request_bytes: 1048576', 'allow_partial_message: true, max_request_bytes: 64'),
  });
  const { status, text } = await ask('/tools', toolCall(authorization, 'read', callOf('read', 'x'.repeat(100))));
  assert.equal(status, 413);
  assert.match(text, /ERR_MESSAGE_TOO_LARGE/);
  assert.equal(docs.requests.length, 0);
});

test('sends the secret from its file, in place of one that a client sends', async (t) => {
  const { ask, upstream, authorization } = await start(t, {
    http: (folder) => {
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
  test(title, async (t) => {
    const { ask, upstream } = await start(t, {
      http: (folder) => {
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

test('passes event streams as they come, and the disconnect of the client', async (t) => {
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

test('passes WebSockets, with the issued token in the handshake', async (t) => {
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

test('an MCP client lists and calls tools, and shows why it was refused', async (t) => {
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
