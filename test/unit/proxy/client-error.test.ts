import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createClientErrorHandler } from '../../../src/proxy/client-error.ts';
import { connectRaw } from '../../harness/http-call.ts';

async function serverOf(t: TestContext, options: { maxHeaderSize?: number; headersTimeout?: number } = {}) {
  const checks = { connectionsCheckingInterval: 50 };
  const server = createServer({ ...options, ...checks }, ({ url }, response) => {
    if (url !== '/wait') response.write('begun');
  });
  const lines: [unknown, string | undefined][] = [];
  const warn = (fields: unknown, message?: string) => lines.push([fields, message]);
  server.on('clientError', createClientErrorHandler({ warn }));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, lines };
}

test('responds to malformed input with an empty 400 and closes the connection', async (t) => {
  const { url, lines } = await serverOf(t);
  const connection = await connectRaw(url);
  connection.send('not HTTP\r\n\r\n');
  assert.equal(await connection.closed(), 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  assert.deepEqual(lines, [[{ status: 400 }, 'received bytes that are not a valid HTTP request']]);
});

test('responds to oversized headers with 431', async (t) => {
  const { url, lines } = await serverOf(t, { maxHeaderSize: 1024 });
  const connection = await connectRaw(url);
  connection.send(`GET / HTTP/1.1\r\nHost: h\r\nX: ${'x'.repeat(2000)}\r\n\r\n`);
  assert.match(await connection.closed(), /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/);
  assert.deepEqual(lines, [[{ status: 431 }, 'request headers are larger than limits.max_header_size']]);
});

test('responds to incomplete headers with 408', async (t) => {
  const { url, lines } = await serverOf(t, { headersTimeout: 100 });
  const connection = await connectRaw(url);
  connection.send('GET / HTTP/1.1\r\nHost: h\r\n');
  assert.match(await connection.closed(), /^HTTP\/1\.1 408 Request Timeout\r\n/);
  assert.deepEqual(lines, [[{ status: 408 }, 'timed out reading request headers']]);
});

test('logs TLS on the plain http listener as such', async (t) => {
  const { url, lines } = await serverOf(t);
  await assert.rejects(fetch(url.replace('http:', 'https:')));
  assert.deepEqual(lines, [
    [{ status: 400 }, 'received TLS on a plain http listener: let the agent call an http:// URL'],
  ]);
});

test('closes the connection without another response when malformed input follows a request in flight', async (t) => {
  const { url, lines } = await serverOf(t);
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
    const { url, lines } = await serverOf(t);
    const connection = await connectRaw(url);
    connection.socket.end(sent);
    assert.match(await connection.closed(), /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.deepEqual(lines, []);
  });
}

test('writes nothing to a closed connection', async (t) => {
  const { url, lines } = await serverOf(t);
  const connection = await connectRaw(url);
  connection.send('GET / HT');
  connection.socket.resetAndDestroy();
  assert.equal(await connection.closed(), '');
  assert.deepEqual(lines, []);
});
