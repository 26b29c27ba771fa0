import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { Route } from '../../../src/config/route.ts';
import { CambistError } from '../../../src/errors.ts';
import { idForError, isMcpPost, responseIdOf, toJsonRpc } from '../../../src/proxy/mcp-error.ts';
import { errorResponse } from '../../../src/proxy/own-response.ts';

const request = (headers: Record<string, string>, method = 'POST') =>
  ({ method, rawHeaders: Object.entries(headers).flat() }) as unknown as IncomingMessage;
const routeWith = (conditions: object | undefined) => ({ match: { conditions } }) as unknown as Route;
const json = { 'Content-Type': 'application/json' };

test('recognizes an MCP POST by its headers or its route', () => {
  const both = { ...json, Accept: 'application/json, text/event-stream' };
  assert.equal(isMcpPost(request(both), undefined), true);
  assert.equal(isMcpPost(request({ ...json, 'Mcp-Session-Id': 's' }), undefined), true);
  assert.equal(isMcpPost(request({ ...json, 'MCP-Protocol-Version': '2025-11-25' }), routeWith(undefined)), true);
  assert.equal(isMcpPost(request(json), routeWith({ mcpMethods: ['tools/call'] })), true);
  assert.equal(isMcpPost(request(json), routeWith({ mcpNames: ['delete_*'] })), true);
  const charset = { 'content-type': 'Application/JSON ; charset=utf-8', 'mcp-method': 'ping' };
  assert.equal(isMcpPost(request(charset), undefined), true);
});

test('does not recognize other requests as MCP', () => {
  const mcp = { 'Mcp-Session-Id': 's', Accept: 'application/json, text/event-stream' };
  assert.equal(isMcpPost(request({ ...json, ...mcp }, 'GET'), undefined), false);
  assert.equal(isMcpPost(request(mcp), undefined), false);
  assert.equal(isMcpPost(request({ ...mcp, 'Content-Type': 'application/json-patch+json' }), undefined), false);
  assert.equal(isMcpPost(request({ ...json, Accept: 'application/json' }), routeWith({ methods: ['POST'] })), false);
  assert.equal(isMcpPost(request({ ...json, Accept: '*/*' }), undefined), false);
});

test('keeps status and headers, and puts the problem into data', () => {
  const problem = errorResponse(new CambistError('ERR_SUBJECT_TOKEN_MISSING', 'x'), 'r-1', {
    resourceMetadata: 'http://a/b',
  });
  const { status, headers, body } = toJsonRpc(problem, { id: 7 });
  assert.equal(status, 401);
  assert.deepEqual(headers, { ...problem.headers, 'content-type': 'application/json' });
  const data = JSON.parse(problem.body);
  const message = `ERR_SUBJECT_TOKEN_MISSING: ${data.detail}`;
  assert.deepEqual(JSON.parse(body), { jsonrpc: '2.0', id: 7, error: { code: -32010, message, data } });
});

test('takes the id of a request, and none of a notification or a response', () => {
  const idOf = (body: string) => responseIdOf(Buffer.from(body));
  assert.deepEqual(idOf('{"jsonrpc":"2.0","id":1,"method":"tools/list"}'), { id: 1 });
  assert.deepEqual(idOf('{"jsonrpc":"2.0","id":"a-1","method":"tools/list"}'), { id: 'a-1' });
  assert.deepEqual(idOf('{"jsonrpc":"2.0","method":"notifications/initialized"}'), {});
  assert.deepEqual(idOf('{"jsonrpc":"2.0","id":1,"result":{}}'), {});
  assert.deepEqual(idOf('{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}'), {});
});

test('returns a null id for a batch, and for everything that cannot be read', () => {
  const call = { jsonrpc: '2.0', id: 1, method: 'tools/call' };
  const unusual = [1.5, 2 ** 60, 'x'.repeat(257), null, {}, true].map((id) => JSON.stringify({ ...call, id }));
  const long = JSON.stringify({ ...call, params: 'x'.repeat(64 * 1024) });
  for (const body of [...unusual, JSON.stringify([call]), long, '', '{', '7', '"x"', 'null', '{}']) {
    assert.deepEqual(responseIdOf(Buffer.from(body)), { id: null }, body.slice(0, 80));
  }
});

/** A request whose body has not arrived. */
function incoming(): IncomingMessage & PassThrough {
  const body = Object.assign(new PassThrough(), { headers: {}, rawHeaders: [], complete: false });
  return body as unknown as IncomingMessage & PassThrough;
}

test('reads a limited number of bodies for their id at the same time', async () => {
  const unrouted = new CambistError('ERR_ROUTE_NOT_FOUND', 'x');
  const waiting = Array.from({ length: 64 }, incoming);
  const ids = waiting.map((request) => idForError(unrouted, request, undefined));
  const oneMore = incoming();
  assert.deepEqual(await idForError(unrouted, oneMore, undefined), { id: null });
  assert.equal(oneMore.listenerCount('data'), 0);
  for (const [id, request] of waiting.entries()) request.end(JSON.stringify({ id, method: 'tools/list' }));
  assert.deepEqual(
    await Promise.all(ids),
    waiting.map((_, id) => ({ id })),
  );
  const later = idForError(unrouted, oneMore, undefined);
  oneMore.end('{"id":7,"method":"ping"}');
  assert.deepEqual(await later, { id: 7 });
});
