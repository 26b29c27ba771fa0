import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { test } from 'node:test';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { sendResponse } from '../harness/faults.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { respond } from '../harness/upstream-handlers.ts';

/** Responds with 200 and the bytes of the request body. */
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

test('passes a small body unchanged on a route with a token, with a length and chunked', async (t) => {
  const { app, authorization } = await startGateway(t, { handler: mirror });
  for (const framing of [{ 'content-length': BINARY.length }, { 'transfer-encoding': 'chunked' }]) {
    const headers = { authorization, ...framing };
    const { body } = await call(`${app.url}/github`, { method: 'POST', headers, body: BINARY });
    assert.ok(body.equals(BINARY));
  }
});

test('keeps the content length of a response', async (t) => {
  const { app } = await startPlainGateway(t, { handler: respond(200, 'hello', { 'content-length': 5 }) });
  const { headers, text } = await call(`${app.url}/plain`);
  assert.equal(headers['content-length'], '5');
  assert.equal(headers['transfer-encoding'], undefined);
  assert.equal(text, 'hello');
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
  assert.deepEqual(
    upstream.requests.map(({ method, headers }) => [method, headers['content-length']]),
    [
      ['GET', '5'],
      ['POST', '0'],
    ],
  );
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
      const { headers, ...got } = await call(`${app.url}/plain`);
      assert.deepEqual(
        [got.status, got.text, headers.etag, headers['transfer-encoding']],
        [status, '', '"e"', undefined],
      );
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

test('serves consecutive requests on one connection of a caller', async (t) => {
  const { app } = await startPlainGateway(t, { handler: mirror });
  const connection = await connectRaw(app.url);
  for (const word of ['first', 'second', 'third']) {
    connection.send(`POST /plain HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${word.length}\r\n\r\n${word}`);
    await connection.until(new RegExp(`\r\n${word}\r\n`));
  }
  connection.socket.destroy();
});

test('sends 100 Continue to a caller that expects it, and does not forward the expectation', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: mirror });
  const sent = request(`${app.url}/plain`, { method: 'POST', agent: false, headers: { expect: '100-continue' } });
  sent.flushHeaders();
  await new Promise((resolve) => sent.once('continue', resolve));
  sent.end('hello');
  const status = await new Promise((resolve) => sent.once('response', (got) => resolve(got.resume().statusCode)));
  assert.equal(status, 200);
  assert.equal(upstream.requests[0]?.headers.expect, undefined);
});
