import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { get } from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { sendResponse } from '../harness/fake-authorization-server.ts';
import { eventStream } from '../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call, open, sendRaw } from '../harness/http-call.ts';

/** Parts of a stream that a proxy would change if it parsed and rewrote the stream. */
const PIECES = [
  'retry: 1500\n\n',
  ': keep-alive\n\n',
  ':\n\n',
  'id: 1\ndata: one\n\n',
  'data: two lines\ndata: of one event\n\n',
  'event: message\r\ndata: with carriage returns\r\n\r\n',
  'data:no space\n\n',
  'data\n\n',
  'unknown: field\ndata: ünïcödé 🙂\n\n',
  'id\ndata: half of an ev',
  'ent, and the other half\n\ndata: caf',
  // A character of two bytes.
  Buffer.from([0xc3]),
  Buffer.from([0xa9]),
  '\n\n',
  'data: with nothing after it',
];

for (const method of ['GET', 'POST']) {
  test(`relays an event stream in response to ${method} unchanged and without delay`, async (t) => {
    const stream = eventStream({ 'x-accel-buffering': 'no' });
    const { app, upstream, authorization } = await startGateway(t, { handler: stream.handler });
    const response = await open(`${app.url}/github`, {
      method,
      headers: { authorization, accept: 'text/event-stream', 'last-event-id': '7' },
      ...(method === 'POST' && { body: '{}' }),
    });
    assert.equal(upstream.requests[0]?.headers['last-event-id'], '7');
    const { 'content-type': type, 'content-encoding': coding, 'x-accel-buffering': buffering } = response.headers;
    assert.deepEqual([response.statusCode, type, coding, buffering], [200, 'text/event-stream', undefined, 'no']);
    let received = Buffer.alloc(0);
    response.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    let sent = Buffer.alloc(0);
    for (const piece of PIECES) {
      stream.write(piece);
      sent = Buffer.concat([sent, Buffer.from(piece)]);
      // The upstream writes the next part only after this one has arrived.
      await eventually(`"${piece}" has arrived`, () => received.length >= sent.length);
      assert.ok(received.equals(sent), `${received}`);
    }
    stream.end();
    await eventually('the stream is complete', () => response.complete);
    assert.ok(received.equals(sent));
  });
}

/** A server of the official SDK with the HTTP+SSE transport, which preceded Streamable HTTP, below a path. */
function sseServer(below: string): NonNullable<GatewayOptions['handler']> {
  const sessions = new Map<string, SSEServerTransport>();
  return async ({ message, url }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://h');
    if (pathname === `${below}/sse`) {
      const transport = new SSEServerTransport(`${below}/messages`, response);
      sessions.set(transport.sessionId, transport);
      const server = new McpServer({ name: 'old', version: '1' });
      server.registerTool('greet', {}, () => ({ content: [{ type: 'text', text: 'hello' }] }));
      await server.connect(transport as Transport);
    } else if (pathname === `${below}/messages`) {
      await sessions.get(searchParams.get('sessionId') ?? '')?.handlePostMessage(message, response);
    } else sendResponse(response, 404, 'not here');
  };
}

async function callTool(t: TestContext, url: string, authorization: string): Promise<unknown> {
  const client = new Client({ name: 'test', version: '1' });
  const headers = { authorization };
  const transport = new SSEClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport as Transport);
  t.after(() => client.close());
  return (await client.callTool({ name: 'greet', arguments: {} })).content;
}

for (const [place, below] of [
  ['below the path of the upstream', '/mcp'],
  ['at the root of the upstream', ''],
] as const) {
  test(`connects the official client to an HTTP+SSE server ${place} through a route with a prefix`, async (t) => {
    const gateway = await startGateway(t, { handler: sseServer(below) });
    const { app, upstream, authorization, authorizationServer, config } = gateway;
    app.reloadTo({ ...config, routes: config.routes.map((one) => ({ ...one, upstream: upstream.url + below })) });
    const content = await soon('the tool', callTool(t, `${app.url}/github/sse`, authorization));
    assert.deepEqual(content, [{ type: 'text', text: 'hello' }]);
    const posts = upstream.requests.filter(({ method }) => method === 'POST');
    assert.ok(posts.length >= 3);
    for (const { url, authorization: bearers } of posts) {
      assert.match(url, new RegExp(`^${below}/messages\\?sessionId=`));
      assert.deepEqual(bearers, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
    }
  });
}

/** The response to a request whose upstream sends this body. */
async function bodyOf(t: TestContext, body: string, headers: Record<string, string>, method = 'GET') {
  const { app } = await startPlainGateway(t, {
    handler: async (request, response) => {
      await request.body();
      response.writeHead(200, headers);
      response.end(body);
    },
  });
  return call(`${app.url}/plain/sse`, { method });
}

const ENDPOINT = 'event: endpoint\ndata: /mcp/messages\n\n';
const SSE = { 'content-type': 'text/event-stream; charset=utf-8' };

test('rewrites the endpoint event only in an event stream in response to a GET', async (t) => {
  const rewritten = 'event: endpoint\ndata: /plain/messages\n\n';
  assert.equal((await bodyOf(t, ENDPOINT, SSE)).text, rewritten);
  assert.equal((await bodyOf(t, ENDPOINT, { 'content-type': 'text/plain' })).text, ENDPOINT);
  assert.equal((await bodyOf(t, ENDPOINT, {})).text, ENDPOINT);
  assert.equal((await bodyOf(t, ENDPOINT, SSE, 'POST')).text, ENDPOINT);
  assert.equal((await bodyOf(t, ENDPOINT, { ...SSE, 'content-encoding': 'x-own' })).text, ENDPOINT);
  const sized = await bodyOf(t, ENDPOINT, { ...SSE, 'content-length': String(ENDPOINT.length) });
  assert.deepEqual([sized.text, sized.headers['content-length']], [rewritten, undefined]);
});

test('sends a client back through the route when the upstream redirects to the same path with a slash', async (t) => {
  const { app, upstream, authorization } = await startGateway(t, {
    handler: ({ url }, response) => {
      if (url === '/mcp') sendResponse(response, 307, '', { location: `${upstream.url}/mcp/` });
      else sendResponse(response, 200, 'here');
    },
  });
  const response = await fetch(`${app.url}/github`, { headers: { authorization } });
  assert.deepEqual([response.status, await response.text(), response.url], [200, 'here', `${app.url}/github/`]);
});

test('never completes an event that breaks off with its stream', async (t) => {
  const { app } = await startPlainGateway(t, {
    handler: (_request, response) => {
      response.writeHead(200, SSE);
      response.write('event: endpoint\ndata: /mcp/mess', () => response.destroy());
    },
  });
  assert.doesNotMatch(await sendRaw(app.url, get('/plain/sse')), /0\r\n\r\n$/);
});
