import assert from 'node:assert/strict';
import type { OutgoingHttpHeaders } from 'node:http';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { routeTo } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { sendResponse } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway, startInboundGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { get, INTERCEPTED, startIntercepted } from '../harness/intercepted.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const REFUSED = 'ERR_CROSS_ROUTE_REFERENCE';

/** The route `evil` beside the route `github`, and one with a secret. */
async function startTwoBackends(t: TestContext, handler: UpstreamHandler = () => {}, top = {}) {
  const evil = await startFakeUpstream(t, handler);
  const secret = writerInto(temporaryFolder(t))('secret', 'secret-of-the-route');
  const paid = await startFakeUpstream(t, (_request, response) => sendResponse(response, 200, 'paid'));
  const gateway = await startGateway(t, {
    top,
    moreRoutes: [
      routeTo('evil', `${evil.url}/mcp`),
      routeTo('paid', paid.url, { credential: 'secret', secret }),
      { name: 'hosted', match: { host: 'hosted.tools.svc' }, upstream: `${paid.url}/hosted`, credential: 'none' },
    ],
  });
  return { ...gateway, evil, paid };
}

type TwoBackends = Awaited<ReturnType<typeof startTwoBackends>>;

/** References to another route. */
function referencesTo(path: string, { port }: URL): string[] {
  const at = `127.0.0.1:${port}${path}`;
  return [
    `http://${at}`,
    `//${at}`,
    `HTTP://${at}`,
    `http:\\\\${at}`,
    `/\\${at}`,
    `\t http://${at}`,
    `ht\ttp://${at}`,
    `http://user:pass@${at}`,
    `http://127.1:${port}${path}`,
    `http://[::ffff:127.0.0.1]:${port}${path}`,
    `http://LOCALHOST:${port}${path}`,
    `http://localhost.:${port}${path}`,
    `https://${at}`,
    `http://127.0.0.1:${port}/evil/..${path}`,
    `http://127.0.0.1:${port}/evil/%2e%2E${path}`,
    `http://127.0.0.1:${port}${path}#x`,
    'http://hosted.tools.svc/x',
    'https://HOSTED.tools.svc.:8443/x',
  ];
}

/** References that a client must not resolve at cambist: they are of the backend. */
const OF_BACKEND = ['/github', '../github', '..\\github', '/mcp/../github', '/mcp/%2e%2e/github', '/paid?x=1'];

/** An MCP server that redirects each tool call. */
function redirecting(status: number, location: () => string): UpstreamHandler {
  return async (request, response) => {
    const { id, method, params } = JSON.parse((await request.body()).toString() || '{}');
    if (method === 'initialize') {
      const serverInfo = { name: 'evil', version: '1' };
      const result = { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo };
      sendResponse(response, 200, { jsonrpc: '2.0', id, result });
    } else if (method !== 'tools/call') sendResponse(response, method === undefined ? 405 : 202, '');
    else sendResponse(response, status, '', { location: location() });
  };
}

const CLIENT = { name: 'test', version: '1' };
const SDKS = {
  'TypeScript SDK 1': async (url: URL, requestInit: RequestInit) => {
    const client = new Client(CLIENT);
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit }) as Transport);
    return client;
  },
  'TypeScript SDK 2': async (url: URL, requestInit: RequestInit) => {
    const client = new ClientV2(CLIENT);
    await client.connect(new TransportV2(url, { requestInit }));
    return client;
  },
};

for (const [sdk, connect] of Object.entries(SDKS)) {
  for (const [status, path] of [
    [307, '/github'],
    [308, '/github'],
    [303, '/paid?path=chosen'],
  ] as const) {
    test(`${sdk} does not follow a ${status} of one backend to the route ${path} of another`, async (t) => {
      let location = '';
      const handler = redirecting(status, () => location);
      const gateway = await startTwoBackends(t, handler);
      const { app, upstream, paid, authorization } = gateway;
      const client = await connect(new URL(`${app.url}/evil`), { headers: { authorization } });
      t.after(() => client.close());
      const references = [...OF_BACKEND, ...referencesTo(path, new URL(app.url))];
      for (location of references) {
        await assert.rejects(client.callTool({ name: 'greet', arguments: {} }), location);
        assert.deepEqual([upstream.requests.length, paid.requests.length], [0, 0], location);
      }
      assert.equal(await refused(gateway, 'evil'), referencesTo(path, new URL(app.url)).length);
    });
  }
}

async function refused({ app }: Pick<TwoBackends, 'app'>, route: string): Promise<number> {
  return await app.metric('cambist_failures_total', { route, error: REFUSED });
}

/** The headers of the response to a request for `/evil/a`, whose upstream sends these. */
async function headersFrom({ app, evil, authorization }: TwoBackends, sent: OutgoingHttpHeaders, headers = {}) {
  evil.handler = (_request, response) => sendResponse(response, 200, '', sent);
  return call(`${app.url}/evil/a`, { headers: { authorization, ...headers } });
}

test('rewrites the URLs in headers to the route or to the backend, and refuses those of other routes', async (t) => {
  const gateway = await startTwoBackends(t);
  const { app, evil } = gateway;
  const own = `${evil.url}/github`;
  for (const [name, value, expected] of [
    ['location', '/mcp/x', '/evil/x'],
    ['location', '/github', own],
    ['location', `${app.url}/evil/b`, `${app.url}/evil/b`],
    ['link', '<mailto:a@example.com>; rel=author', '<mailto:a@example.com>; rel=author'],
    ['location', 'http://hosted.tools.svc.example.com/x', 'http://hosted.tools.svc.example.com/x'],
    ['content-location', '../github', own],
    ['refresh', '0; url=/mcp/b', undefined],
    ['link', '</mcp?page=2>; rel="next", <c>;rel=x', '</evil?page=2>; rel="next", <c>;rel=x'],
    ['link', '<//example.com/x>, </github>', `<http://example.com/x>, <${own}>`],
    ['link', '</mcp>; title="a, b"', '</evil>; title="a, b"'],
    ['link', '/github; rel=next', undefined],
    ['link', '</github#<a>; rel=next', undefined],
    ['link', '<a>; title=", </github"; rel=next', undefined],
  ] as const) {
    const { status, headers } = await headersFrom(gateway, { [name]: value });
    assert.deepEqual([status, headers[name]], [200, expected], `${name}: ${value}`);
  }
  for (const headers of [
    { 'content-location': `${app.url}/github` },
    { link: `</mcp>, <${app.url}/github/x>; rel=next` },
    { link: '<a>,'.repeat(101) },
    { location: ['/mcp/a', '/mcp/b'] },
    { location: `${app.url}/nothing` },
    { location: 'http://[broken' },
    { location: 'javascript:alert(1)' },
    { location: '/mcp/a%2f..%2fb' },
    { location: `/mcp/${'x'.repeat(9000)}` },
  ] as OutgoingHttpHeaders[]) {
    assertProblem(await headersFrom(gateway, headers), REFUSED);
  }
  const line = app.logs.find(({ error }) => error === REFUSED);
  assert.equal(line?.finding, 'cross_route_reference');
  assert.equal(line?.cause, `the backend's content-location leads to route "github"`);
});

test('refuses a reference to the host that the caller used, or that a gateway says it used', async (t) => {
  const gateway = await startTwoBackends(t, undefined, { host_header: 'x-original-host' });
  for (const [host, location, isRefused] of [
    ['mcp.corp.example', 'https://mcp.corp.example/github', true],
    ['mcp.corp.example', 'http://MCP.corp.example.:443/github', true],
    ['mcp.corp.example:8443', 'https://mcp.corp.example:8443/github', true],
    ['mcp.corp.example', 'https://mcp.corp.example:8443/github', false],
    ['mcp.corp.example', 'https://corp.example/github', false],
    ['mcp.corp.example', 'https://mcp.corp.example/evil/x', false],
  ] as const) {
    const response = await headersFrom(gateway, { location }, { host });
    assert.equal(response.status, isRefused ? 502 : 200, `${host}: ${location}`);
    for (const name of ['x-forwarded-host', 'x-original-host']) {
      const forwarded = await headersFrom(gateway, { location }, { [name]: host.split(':')[0] });
      assert.equal(forwarded.status, isRefused || location.endsWith(':8443/github') ? 502 : 200, location);
    }
  }
});

test('refuses a reference to any plain HTTP URL that a client of the forward proxy would send to another route', async (t) => {
  const gateway = await startTwoBackends(t);
  for (const [location, status] of [
    ['http://elsewhere.example.com/github', 502],
    ['http://elsewhere.example.com/x', 200],
    ['https://elsewhere.example.com/github', 200],
  ] as const) {
    gateway.evil.handler = (_request, response) => sendResponse(response, 200, '', { location });
    const { app, authorization } = gateway;
    const response = await call(app.url, { path: 'http://tools.example.com/evil', headers: { authorization } });
    assert.deepEqual([response.status, response.headers.location ?? location], [status, location]);
  }
});

test('refuses a reference of a nested route to the other route', async (t) => {
  const gateway = await startTwoBackends(t);
  const { app, config, evil, paid } = gateway;
  const nested = (upstream: string) => {
    const route = { name: 'nested', match: { path: '/evil/n' }, upstream, credential: 'none' };
    app.reloadTo({ ...config, routes: [...config.routes, route] });
  };
  nested(paid.url);
  assertProblem(await headersFrom(gateway, { location: '/mcp/n/x' }), REFUSED);
  // The URL that the backend meant, at its own address.
  nested(`${evil.url}/mcp/n`);
  assert.equal((await headersFrom(gateway, { location: '/mcp/n/x' })).headers.location, '/evil/n/x');
  nested(`${evil.url}/mcp/other`);
  assertProblem(await headersFrom(gateway, { location: '/mcp/n/x' }), REFUSED);
});

test('refuses a reference of an intercepted host to another one, and to another route of the same host', async (t) => {
  const backend = await startFakeUpstream(t, () => {});
  const other = { upstream: backend.url, credential: 'none' };
  const gateway = await startIntercepted(t, {
    moreRoutes: [
      { name: 'same', match: { host: INTERCEPTED, path: '/same' }, ...other },
      { name: 'other', match: { host: 'other.example.com' }, ...other },
    ],
  });
  const { upstream } = gateway;
  for (const [location, expected] of [
    ['/mcp/x', '/mcp/x'],
    [`https://${INTERCEPTED}/mcp/y`, `https://${INTERCEPTED}/mcp/y`],
    [`https://${INTERCEPTED}/same`, undefined],
    ['https://other.example.com/x', undefined],
    ['http://other.example.com/x', undefined],
    ['https://elsewhere.example.com/same', 'https://elsewhere.example.com/same'],
  ] as const) {
    upstream.handler = (_request, response) => sendResponse(response, 307, '', { location });
    const text = await (await gateway.connectTls()).ask(get(gateway, '/mcp/a'));
    assert.match(text, expected === undefined ? /^HTTP\/1\.1 502 / : /^HTTP\/1\.1 307 /, location);
    assert.equal(/^location: (.*)\r$/im.exec(text)?.[1], expected);
  }
});

test('gives callers of the agent its own URLs, and those at the name by which they called', async (t) => {
  const gateway = await startInboundGateway(t);
  const authorization = `Bearer ${await gateway.mint()}`;
  for (const [location, expected] of [
    ['/tasks/1', '/tasks/1'],
    [`${gateway.agent.url}/tasks/1`, '/tasks/1'],
    ['https://agent.corp.example/tasks/1', 'https://agent.corp.example/tasks/1'],
    ['//elsewhere.example.com\\x', 'http://elsewhere.example.com/x'],
  ]) {
    gateway.agent.handler = (_request, response) => sendResponse(response, 201, '', { location });
    const { headers } = await call(gateway.url, { headers: { authorization, host: 'agent.corp.example' } });
    assert.equal(headers.location, expected);
  }
  gateway.agent.handler = (_request, response) => sendResponse(response, 201, '', { location: 'http://[broken' });
  assertProblem(await call(gateway.url, { headers: { authorization } }), REFUSED);
});

/** Streams that move the session of an HTTP+SSE client to another route, if nothing prevents it. */
const EVENT = 'event: endpoint\ndata: URL/github\n\n';
const STREAMS = {
  'the first event': EVENT,
  'a later event': `event: message\ndata: {"jsonrpc":"2.0","method":"x"}\n\n${EVENT}`,
  'an event behind many lines': EVENT.replace('\n', `\n${': c\n'.repeat(200)}`),
  'an event behind a long comment': EVENT.replace('\n', `\n:${'c'.repeat(20_000)}\n`),
  'data before its name': 'data: URL/github\nevent: endpoint\n\n',
  'data in two lines': EVENT.replace('/github', '/git\ndata: hub'),
  'another line end': EVENT.replaceAll('\n', '\r'),
};

for (const [stream, text] of Object.entries(STREAMS)) {
  test(`an HTTP+SSE client does not move to another route by ${stream}`, async (t) => {
    const gateway = await startTwoBackends(t);
    const { app, evil, upstream, authorization } = gateway;
    evil.handler = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(text.replace('URL', app.url));
    };
    const client = new Client(CLIENT);
    t.after(() => client.close());
    const transport = new SSEClientTransport(new URL(`${app.url}/evil`), {
      requestInit: { headers: { authorization } },
      eventSourceInit: { fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, authorization } }) },
    });
    await assert.rejects(soon('the connection', client.connect(transport as Transport)));
    assert.equal(upstream.requests.length, 0);
    await eventually('the log line', () => app.logs.some(({ finding }) => finding === 'cross_route_reference'));
    assert.ok((await app.metric('cambist_requests_aborted_total', { route: 'evil', aborted_by: 'cross_route' })) > 0);
  });
}

test('refuses an event stream that is encoded or not in UTF-8 where other routes exist, and asks the backend for none', async (t) => {
  const gateway = await startTwoBackends(t);
  const { app, evil, authorization } = gateway;
  const event = `event: endpoint\ndata: ${app.url}/github\n\n`;
  for (const [type, coding] of [
    ['text/event-stream', 'gzip'],
    ['x/y; text/event-stream', 'gzip'],
    ['text/event-stream; charset=utf-16le', 'identity'],
    [`text/event-stream; Charset*=''utf-7`, 'identity'],
    ['text/event-stream; charset=utf-8; charset*0=utf-; charset*1=16', 'identity'],
  ] as const) {
    evil.handler = (_request, response) =>
      sendResponse(response, 200, gzipSync(event), { 'content-type': type, 'content-encoding': coding });
    const headers = { authorization, accept: 'text/event-stream', 'accept-encoding': 'gzip' };
    assertProblem(await call(`${app.url}/evil`, { headers }), REFUSED);
    assert.equal(evil.requests.at(-1)?.headers['accept-encoding'], 'identity');
  }
});

test('drops headers by which one backend changes what a client does at the address of all', async (t) => {
  const gateway = await startTwoBackends(t);
  const dropped = {
    'alt-svc': 'h3=":443"',
    'clear-site-data': '"*"',
    'strict-transport-security': 'max-age=1',
    'service-worker-allowed': '/',
    nel: '{}',
    'x-accel-redirect': '/github',
  };
  const cookies = ['a=1; Path=/; HttpOnly', 'b=2;domain=example.com;PATH=/github', 'c=3'];
  const { headers } = await headersFrom(gateway, { ...dropped, 'set-cookie': cookies });
  for (const name of Object.keys(dropped)) assert.equal(headers[name], undefined, name);
  assert.deepEqual(headers['set-cookie'], ['a=1; HttpOnly; Path=/evil', 'b=2; Path=/evil', 'c=3; Path=/evil']);
});

test('keeps the cookies of the only backend, and drops Alt-Svc, which leads past cambist', async (t) => {
  const { app, upstream, authorization } = await startGateway(t);
  const sent = { 'alt-svc': 'h3=":443"', 'set-cookie': ['a=1; Path=/'], 'strict-transport-security': 'max-age=1' };
  upstream.handler = (_request, response) => sendResponse(response, 200, '', sent);
  const { headers } = await call(`${app.url}/github`, { headers: { authorization } });
  for (const [name, value] of Object.entries({ ...sent, 'alt-svc': undefined })) assert.deepEqual(headers[name], value);
});

test('checks the metadata that a challenge of a passthrough route names', async (t) => {
  const gateway = await startTwoBackends(t);
  const { app, config, evil } = gateway;
  app.reloadTo({ ...config, routes: [...config.routes, routeTo('open', evil.url, { credential: 'passthrough' })] });
  const metadata = '/.well-known/oauth-protected-resource';
  for (const [url, status] of [
    [`${app.url}/paid?x`, 502],
    [`${app.url}${metadata}/github`, 502],
    [`${app.url}${metadata}/open`, 401],
    [`${evil.url}${metadata}`, 401],
  ] as const) {
    for (const challenge of [`Bearer resource_metadata="${url}"`, `Bearer a=b=c, resource_metadata=${url}`]) {
      evil.handler = (_request, response) => sendResponse(response, 401, '', { 'www-authenticate': challenge });
      assert.equal((await call(`${app.url}/open`)).status, status, challenge);
    }
  }
});

test('relays challenges up to 4 KiB in all', async (t) => {
  const { app, upstream, authorization } = await startGateway(t, { route: { credential: 'passthrough' } });
  const long = `Basic realm="${'x'.repeat(2000)}"`;
  upstream.handler = (_request, response) =>
    sendResponse(response, 401, '', { 'www-authenticate': [long, 'Bearer', long, ...Array<string>(15).fill(long)] });
  const { headers } = await call(`${app.url}/github`, { headers: { authorization } });
  assert.equal(headers['www-authenticate'], `${long}, Bearer, ${long}`);
});
