import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { soon } from '../../harness/eventually.ts';
import { startPlainGateway } from '../../harness/gateway.ts';
import { connectRaw } from '../../harness/http-call.ts';

/** What a smuggler wants the upstream to see as a request of its own. */
const SMUGGLED = 'GET /plain/smuggled HTTP/1.1\r\nHost: h\r\n\r\n';
const HEAD = 'POST /plain HTTP/1.1\r\nHost: h\r\n';

/** Sends bytes on a connection of their own; settles with all that came back, when nothing more does. */
async function exchange(t: TestContext, bytes: string) {
  const { app, upstream } = await startPlainGateway(t);
  const connection = await connectRaw(app.url);
  connection.send(Buffer.from(bytes, 'latin1'));
  const text = await soon('the end', connection.closed());
  const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status));
  const bodies = await Promise.all(upstream.requests.map(async (request) => (await request.body()).toString('latin1')));
  const seen = upstream.requests.map(({ url, method, rawHeaders }, index) => ({
    url,
    method,
    rawHeaders,
    body: bodies[index],
  }));
  return { text, statuses, seen };
}

const REFUSED: readonly (readonly [what: string, bytes: string])[] = [
  [
    'Content-Length and Transfer-Encoding together',
    `${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  ['the two in the other order', `${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  [
    'two different Content-Lengths',
    `${HEAD}Content-Length: 0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
  ],
  ['the same Content-Length twice', `${HEAD}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
  ['a list of Content-Lengths', `${HEAD}Content-Length: 5, 5\r\n\r\nhello`],
  ['a signed Content-Length', `${HEAD}Content-Length: +5\r\n\r\nhello`],
  ['a negative Content-Length', `${HEAD}Content-Length: -1\r\n\r\n${SMUGGLED}`],
  ['a hexadecimal Content-Length', `${HEAD}Content-Length: 0x5\r\n\r\nhello`],
  ['a Content-Length in parts', `${HEAD}Content-Length: 5 5\r\n\r\nhello`],
  ['an empty Content-Length', `${HEAD}Content-Length: \r\n\r\n${SMUGGLED}`],
  ['a Content-Length beyond all numbers', `${HEAD}Content-Length: 99999999999999999999999\r\n\r\n${SMUGGLED}`],
  ['a space before the colon', `${HEAD}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ['another coding after chunked', `${HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ['a control character before chunked', `${HEAD}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  [
    'a second Transfer-Encoding',
    `${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  ['Transfer-Encoding in a folded line', `${HEAD}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ['a folded header', `${HEAD}X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n`],
  ['a folded first header', `POST /plain HTTP/1.1\r\n Host: h\r\n\r\n`],
  ['bare line feeds', `GET /plain HTTP/1.1\nHost: h\n\n`],
  ['one bare line feed among headers', `${HEAD}X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ['a bare carriage return in a value', `${HEAD}X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ['NUL in a value', `${HEAD}X: a\0b\r\nContent-Length: 0\r\n\r\n`],
  ['NUL in a name', `${HEAD}X\0: a\r\nContent-Length: 0\r\n\r\n`],
  ['a header without a colon', `${HEAD}Transfer-Encoding chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  ['a header without a name', `${HEAD}: a\r\n\r\n${SMUGGLED}`],
  ['a chunk size that is none', `${HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n${SMUGGLED}`],
  ['a chunk size with a prefix', `${HEAD}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`],
  [
    'a chunk size beyond all numbers',
    `${HEAD}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\nhello\r\n0\r\n\r\n`,
  ],
  [
    'a chunk size that ends in a bare line feed',
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  ['a chunk longer than it says', `${HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n${SMUGGLED}`],
  [
    'a bare line feed in a chunk extension',
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    'framing in its trailers',
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
  ],
  ['a space in the method', ` POST /plain HTTP/1.1\r\nHost: h\r\n\r\n${SMUGGLED}`],
  ['a space in the target', `GET /plain /x HTTP/1.1\r\nHost: h\r\n\r\n`],
  ['a version of its own', `GET /plain HTTP/1.9\r\nHost: h\r\n\r\n`],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a method that is none', `P@ST /plain HTTP/1.1\r\nHost: h\r\n\r\n`],
];

for (const [what, bytes] of REFUSED) {
  test(`a request with ${what} is refused, its connection ends, and the upstream sees nothing`, async (t) => {
    const { statuses, seen } = await exchange(t, bytes);
    assert.deepEqual(statuses, [400]);
    assert.deepEqual(seen, []);
  });
}

test('a request of a version before HTTP/1.0, which knows no headers, has no route', async (t) => {
  const { text, seen } = await exchange(t, 'GET /plain\r\nHost: h\r\nConnection: close\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 403 /);
  assert.deepEqual(seen, []);
});

for (const coding of [
  'gzip, chunked',
  'gzip\r\nTransfer-Encoding: chunked',
  'identity, chunked',
  'xchunked',
  'chunked;q=1',
]) {
  test(`a request with Transfer-Encoding: ${JSON.stringify(coding)} has no route, and the upstream sees nothing`, async (t) => {
    const framing = `Transfer-Encoding: ${coding}\r\nConnection: close\r\n\r\n`;
    const { text, statuses, seen } = await exchange(t, `${HEAD}${framing}5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`);
    assert.deepEqual(statuses, [403]);
    assert.match(text, /"code":"ERR_ROUTE_NOT_FOUND"/);
    assert.deepEqual(seen, []);
  });
}

const PASSED: readonly (readonly [what: string, bytes: string, body: string])[] = [
  [
    'chunk extensions',
    `${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;a=b;c="d"\r\nhello\r\n0\r\n\r\n`,
    'hello',
  ],
  [
    'chunks of every size',
    `${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nh\r\n00004\r\nello\r\n0\r\n\r\n`,
    'hello',
  ],
  [
    'chunked in capitals',
    `${HEAD}Transfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    'hello',
  ],
  ['a Content-Length with zeros before it', `${HEAD}Content-Length: 005\r\nConnection: close\r\n\r\nhello`, 'hello'],
  [
    'a request in its body',
    `${HEAD}Content-Length: ${SMUGGLED.length}\r\nConnection: close\r\n\r\n${SMUGGLED}`,
    SMUGGLED,
  ],
  [
    'trailers that would be headers',
    `${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nMcp-Session-Id: x\r\nHost: evil\r\n\r\n`,
    'hello',
  ],
];

for (const [what, bytes, body] of PASSED) {
  test(`a request with ${what} passes as the one request that it is, in one framing`, async (t) => {
    const { statuses, seen } = await exchange(t, bytes);
    assert.deepEqual(statuses, [200]);
    assert.equal(seen.length, 1);
    assert.equal(seen[0]?.body, body);
    const names = seen[0]?.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()) ?? [];
    assert.equal(names.filter((name) => name === 'content-length' || name === 'transfer-encoding').length, 1);
    assert.equal(names.filter((name) => name === 'host').length, 1);
    assert.ok(!names.includes('authorization') && !names.includes('mcp-session-id'));
  });
}

test('requests in a row on one connection are each their own, and are answered in order', async (t) => {
  const one = (path: string, more = '') => `GET /plain/${path} HTTP/1.1\r\nHost: h\r\n${more}\r\n`;
  const { text, statuses, seen } = await exchange(t, one('1') + one('2') + one('3', 'Connection: close\r\n'));
  assert.deepEqual(statuses, [200, 200, 200]);
  assert.deepEqual(
    seen.map(({ url }) => url),
    ['/mcp/1', '/mcp/2', '/mcp/3'],
  );
  assert.deepEqual(
    [...text.matchAll(/"url":"([^"]+)"/g)].map(([, url]) => url),
    ['/mcp/1', '/mcp/2', '/mcp/3'],
  );
});

test('a body that a refused request leaves unread is not taken for the next request', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const connection = await connectRaw(app.url);
  connection.send(`POST /elsewhere HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n${SMUGGLED}`);
  const text = await soon('the end', connection.closed());
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  assert.match(text, /^HTTP\/1\.1 403 /);
  assert.match(text, /connection: close/i);
  assert.equal(upstream.requests.length, 0);
});
