import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type TestContext, test } from 'node:test';
import { createClientErrorHandler } from '../../../src/proxy/client-error.ts';
import { connectRaw } from '../../harness/http-call.ts';
import { serve } from '../../harness/http-server.ts';

async function startServer(t: TestContext, headersTimeout = 60_000) {
  const limits = { maxHeaderSize: 1024, headersTimeout, connectionsCheckingInterval: 50 };
  const server = createServer(limits, ({ url }, response) => {
    if (url !== '/wait') response.write('begun');
  });
  const lines: unknown[] = [];
  const warn = (fields: unknown, message?: string) => lines.push([fields, message]);
  server.on('clientError', createClientErrorHandler({ warn }));
  const { port } = await serve(t, server);
  return { url: `http://127.0.0.1:${port}`, lines };
}

for (const [input, sent, status, reason, message] of [
  ['malformed input', 'not HTTP\r\n\r\n', 400, 'Bad Request', 'received bytes that are not a valid HTTP request'],
  [
    'oversized headers',
    `GET / HTTP/1.1\r\nHost: h\r\nX: ${'x'.repeat(2000)}\r\n\r\n`,
    431,
    'Request Header Fields Too Large',
    'request headers are larger than limits.max_header_size',
  ],
  ['incomplete headers', 'GET / HTTP/1.1\r\nHost: h\r\n', 408, 'Request Timeout', 'timed out reading request headers'],
] as const) {
  test(`responds to ${input} with an empty ${status}, closes the connection, and logs it`, async (t) => {
    const { url, lines } = await startServer(t, status === 408 ? 100 : undefined);
    const connection = await connectRaw(url);
    connection.send(sent);
    const response = `HTTP/1.1 ${status} ${reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
    assert.equal(await connection.closed(), response);
    assert.deepEqual(lines, [[{ status }, message]]);
  });
}

test('logs TLS on the plain http listener as such', async (t) => {
  const { url, lines } = await startServer(t);
  await assert.rejects(fetch(url.replace('http:', 'https:')));
  const message = 'received TLS on a plain http listener: let the agent call an http:// URL';
  assert.deepEqual(lines, [[{ status: 400 }, message]]);
});

test('closes the connection without another response when malformed input follows a request in flight', async (t) => {
  const { url, lines } = await startServer(t);
  const connection = await connectRaw(url);
  connection.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
  await connection.until('begun');
  connection.send('\0not HTTP\r\n\r\n');
  const all = await connection.closed();
  assert.equal(all.match(/HTTP\/1\.1/g)?.length, 1);
  assert.ok(!all.endsWith('0\r\n\r\n'), 'an aborted response must not look complete');
  assert.deepEqual(lines, []);
});

for (const [what, sent] of [
  ['its request headers', 'GET / HTTP/1.1\r\nHost: h\r\n'],
  ['its upload', 'POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello'],
] as const) {
  test(`responds to a caller that leaves within ${what}, and logs nothing`, async (t) => {
    const { url, lines } = await startServer(t);
    const connection = await connectRaw(url);
    connection.socket.end(sent);
    assert.match(await connection.closed(), /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.deepEqual(lines, []);
  });
}

test('writes nothing to a closed connection', async (t) => {
  const { url, lines } = await startServer(t);
  const connection = await connectRaw(url);
  connection.send('GET / HT');
  connection.socket.resetAndDestroy();
  assert.equal(await connection.closed(), '');
  assert.deepEqual(lines, []);
});
