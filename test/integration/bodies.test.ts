import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { routeTo } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import {
  assertUnexpired,
  EXPIRY_MS,
  SHORT_LIVED,
  SINGLE_USE,
  sendResponse,
} from '../harness/fake-authorization-server.ts';
import { skippedTime } from '../harness/fake-clock.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';

const mirror: UpstreamHandler = async (received, response) => {
  sendResponse(response, 200, await received.body(), { 'content-type': 'application/octet-stream' });
};

/** Every byte value, followed by random bytes. */
const BINARY = Buffer.concat([Buffer.from([...Array(256).keys()]), randomBytes(5000)]);

test('passes the bytes of a body unchanged in both directions, with a length and chunked', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: mirror });
  for (const headers of [{ 'content-length': BINARY.length }, { 'transfer-encoding': 'chunked' }]) {
    const { status, body } = await call(`${app.url}/plain`, { method: 'POST', headers, body: BINARY });
    assert.equal(status, 200);
    assert.ok(body.equals(BINARY));
  }
  const [sized, chunked] = upstream.requests;
  assert.equal(sized?.headers['content-length'], String(BINARY.length));
  assert.equal(chunked?.headers['transfer-encoding'], 'chunked');
  assert.equal(chunked?.headers['content-length'], undefined);
});

test('ignores a malformed content type and malformed JSON', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: mirror });
  for (const type of ['application/json', ';;;', 'a/b; charset="', 'application/json; charset=utf-16', '']) {
    const { status, text } = await call(`${app.url}/plain`, { headers: { 'content-type': type }, body: '{"broken' });
    assert.deepEqual([status, text], [200, '{"broken'], type);
  }
  assert.equal(upstream.requests.length, 5);
});

test('accepts a GET with a body and a POST without one', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: mirror });
  const get = await call(`${app.url}/plain`, { method: 'GET', headers: { 'content-length': 5 }, body: 'hello' });
  assert.equal(get.text, 'hello');
  const post = await call(`${app.url}/plain`, { method: 'POST', headers: { 'content-length': 0 } });
  assert.deepEqual([post.status, post.text], [200, '']);
  const received = upstream.requests.map(({ method, headers }) => `${method} ${headers['content-length']}`);
  assert.deepEqual(received, ['GET 5', 'POST 0']);
});

test('relays HEAD, 204, 304 and 202 responses without a body', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  upstream.handler = (_received, response) =>
    void response.writeHead(200, { 'content-length': 1234, etag: '"e"' }).end();
  const head = await call(`${app.url}/plain`, { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.headers.etag], [200, '1234', '"e"']);
  for (const status of [204, 304]) {
    for (const length of [undefined, 1234]) {
      const sent = { etag: '"e"', ...(length !== undefined && { 'content-length': length }) };
      upstream.handler = (_received, response) => void response.writeHead(status, sent).end();
      const { headers, text, ...got } = await call(`${app.url}/plain`);
      const { etag, 'transfer-encoding': coding } = headers;
      assert.deepEqual([got.status, text, etag, coding], [status, '', '"e"', undefined]);
      // A 204 must not have a content length (RFC 9110 section 8.6). A 304 may have that of the cached body.
      assert.equal(headers['content-length'], status === 204 ? undefined : length?.toString());
    }
  }
  const lines = app.logs.filter(({ msg }) => msg === 'request');
  assert.deepEqual([...new Set(lines.map(({ aborted_by }) => aborted_by))], [undefined]);
  upstream.handler = (_received, response) => void response.writeHead(202, { 'content-length': 0 }).end();
  const accepted = await call(`${app.url}/plain`, { body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' });
  assert.deepEqual([accepted.status, accepted.text, accepted.headers['content-length']], [202, '', '0']);
});

const TOTAL_BYTES = 20 * 1024 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, 'x');

/** Uploads as fast as the server reads, until it responds. */
async function upload(url: string) {
  const sent = request(url, { method: 'POST', agent: false });
  let sentBytes = 0;
  const go = (): void => {
    while (sentBytes < TOTAL_BYTES) {
      sentBytes += CHUNK.length;
      if (!sent.write(CHUNK)) return void sent.once('drain', go);
    }
    sent.end();
  };
  go();
  const [response] = await once(sent, 'response');
  const received = { status: response.statusCode, text: await text(response), sentBytes };
  sent.on('error', () => {});
  sent.destroy();
  return received;
}

test('relays a response that arrives before the upload is complete', async (t) => {
  const { app } = await startPlainGateway(t, {
    handler(received, response) {
      received.message.once('data', () => sendResponse(response, 413, 'too large'));
    },
  });
  const { sentBytes, ...response } = await upload(`${app.url}/plain`);
  assert.deepEqual(response, { status: 413, text: 'too large' });
  assert.ok(sentBytes < TOTAL_BYTES, 'the upload was complete before the response arrived');
});

test('responds with an error in the middle of an upload', async (t) => {
  const nowhere = routeTo('nowhere', 'http://127.0.0.1:1', { credential: 'none' });
  const { app } = await startGateway(t, { moreRoutes: [nowhere] });
  for (const [path, expected, code] of [
    ['/nowhere', 502, 'ERR_UPSTREAM_UNREACHABLE'],
    ['/github', 401, 'ERR_SUBJECT_TOKEN_MISSING'],
    ['/other', 403, 'ERR_ROUTE_NOT_FOUND'],
  ] as const) {
    const { status, text } = await upload(`${app.url}${path}`);
    assert.deepEqual([status, JSON.parse(text).code], [expected, code]);
  }
});

const HOST = 'github-mcp.svc';

/** A connection of a slow caller. */
async function startSlow(t: TestContext, behaviour = SHORT_LIVED) {
  const skip = skippedTime(t);
  const gateway = await startGateway(t, { route: { match: { host: HOST, path: '/github' } } });
  const { app, authorizationServer, authorization } = gateway;
  authorizationServer.behaviour = behaviour;
  const connection = await connectRaw(app.url);
  const head = `POST /github HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\nAuthorization: ${authorization}\r\n`;
  const expire = async () => {
    await app.metricBecomes('cambist_requests_in_flight', 1);
    skip(EXPIRY_MS);
  };
  const callOther = () => gateway.send({ host: HOST });
  return { ...gateway, connection, head, expire, callOther };
}

for (const way of ['', ' inside a CONNECT']) {
  test(`sends a fresh token if the cached one expires while a small body arrives${way}`, async (t) => {
    const { authorizationServer, connection, head, upstream, expire, callOther } = await startSlow(t);
    if (way !== '') {
      connection.send(`CONNECT ${HOST}:80 HTTP/1.1\r\nHost: x\r\n\r\n`);
      await connection.until('200 Connection Established');
    }
    connection.send(`${head}Content-Length: 10\r\n\r\nhello`);
    await callOther();
    await expire();
    connection.send('world');
    assert.match(await soon('the response', connection.closed()), /"body":"helloworld"/);
    assert.equal(authorizationServer.requests.length, 2);
    assert.equal(upstream.requests.length, 2);
    assertUnexpired(authorizationServer, upstream.requests);
  });
}

test('chooses the token of a chunked body when its first bytes arrive', async (t) => {
  const { authorizationServer, connection, head, upstream, expire, callOther } = await startSlow(t);
  connection.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  await callOther();
  await expire();
  connection.send('5\r\nhello\r\n');
  // The request goes upstream before its body is complete.
  await eventually('the upstream has the request', () => upstream.requests.length === 2);
  connection.send('0\r\n\r\n');
  assert.match(await soon('the response', connection.closed()), /"body":"hello"/);
  assert.equal(authorizationServer.requests.length, 2);
  assertUnexpired(authorizationServer, upstream.requests);
});

for (const [kind, framing, first, last] of [
  ['small', 'Content-Length: 10', 'hello', 'world'],
  ['chunked', 'Transfer-Encoding: chunked', '', '5\r\nhello\r\n0\r\n\r\n'],
] as const) {
  test(`requests a single-use token once, when a ${kind} body can be sent with it`, async (t) => {
    const { authorizationServer, connection, head, upstream, expire } = await startSlow(t, SINGLE_USE);
    connection.send(`${head}${framing}\r\n\r\n${first}`);
    await expire();
    assert.equal(authorizationServer.requests.length, 0);
    connection.send(last);
    assert.match(await soon('the response', connection.closed()), /HTTP\/1\.1 200/);
    assert.equal(authorizationServer.requests.length, 1);
    assert.equal(upstream.requests.length, 1);
    assert.deepEqual(upstream.requests[0]?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  });
}

test('makes no exchange for a caller that disconnects before the first bytes of its body', async (t) => {
  const { app, authorizationServer, connection, head, upstream } = await startSlow(t);
  connection.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  await app.metricBecomes('cambist_requests_in_flight', 1, { route: 'github' });
  connection.socket.destroy();
  const [line] = await app.logged('request');
  assert.equal(line?.outcome, 'cancelled');
  assert.deepEqual([authorizationServer.requests.length, upstream.requests.length], [0, 0]);
});
