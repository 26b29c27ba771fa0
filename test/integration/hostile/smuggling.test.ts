import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../../harness/eventually.ts';
import { startPlainGateway } from '../../harness/gateway.ts';
import { call, connectRaw } from '../../harness/http-call.ts';
import { sumSamples } from '../../harness/metric-samples.ts';
import { HEAD, REFUSED_FRAMINGS, SMUGGLED } from '../../harness/refused-framings.ts';

const inFlight = (metrics: string): number => sumSamples(metrics, 'cambist_requests_in_flight');

/** Sends bytes on a new connection. Settles with everything received when the connection closes. */
async function exchange(t: TestContext, bytes: string) {
  const { app, upstream } = await startPlainGateway(t);
  const connection = await connectRaw(app.url);
  connection.send(Buffer.from(bytes, 'latin1'));
  const text = await soon('the connection closes', connection.closed());
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

for (const [flaw, bytes] of REFUSED_FRAMINGS) {
  test(`refuses a request with ${flaw}, closes the connection, and sends nothing upstream`, async (t) => {
    const { statuses, seen } = await exchange(t, bytes);
    assert.deepEqual(statuses, [400]);
    assert.deepEqual(seen, []);
  });
}

test('refuses a request without a version, which has no headers', async (t) => {
  const { text, seen } = await exchange(t, 'GET /plain\r\nHost: localhost\r\nConnection: close\r\n\r\n');
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
  test(`returns 403 for Transfer-Encoding: ${JSON.stringify(coding)}, and sends nothing upstream`, async (t) => {
    const framing = `Transfer-Encoding: ${coding}\r\nConnection: close\r\n\r\n`;
    const { text, statuses, seen } = await exchange(t, `${HEAD}${framing}5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`);
    assert.deepEqual(statuses, [403]);
    assert.match(text, /"code":"ERR_ROUTE_NOT_FOUND"/);
    assert.deepEqual(seen, []);
  });
}

const UNKNOWN_CODINGS = [
  `Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello`,
  `Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  `Transfer-Encoding: xchunked\r\n\r\n`,
];

for (const [headers, framing] of UNKNOWN_CODINGS.flatMap((one) => [
  ['', one],
  // The response to an MCP message has the id in its body, which must not delay the close.
  ['Content-Type: application/json\r\nMcp-Method: ping\r\n', one],
])) {
  test(`serves no request behind a refused framing: ${JSON.stringify(`${headers}${framing}`)}`, async (t) => {
    const { app, upstream } = await startPlainGateway(t);
    // From here on, an upstream connection is open, and a request would be sent at once.
    assert.equal((await call(`${app.url}/plain`)).status, 200);
    const connection = await connectRaw(app.url);
    connection.send(`${HEAD}${headers}${framing}${SMUGGLED}${SMUGGLED}`);
    const text = await soon('the connection closes', connection.closed());
    // Some versions of Node refuse it themselves.
    assert.match(text, /^HTTP\/1\.1 40[03] /);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
    await eventually('all requests are logged', async () => inFlight(await app.metrics()) === 0);
    assert.equal(upstream.requests.length, 1);
  });
}

const FORWARDED: readonly (readonly [feature: string, bytes: string, body: string])[] = [
  [
    'chunk extensions',
    `${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;a=b;c="d"\r\nhello\r\n0\r\n\r\n`,
    'hello',
  ],
  [
    'chunks of different sizes',
    `${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nh\r\n00004\r\nello\r\n0\r\n\r\n`,
    'hello',
  ],
  [
    'chunked in capitals',
    `${HEAD}Transfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    'hello',
  ],
  ['a Content-Length with leading zeros', `${HEAD}Content-Length: 005\r\nConnection: close\r\n\r\nhello`, 'hello'],
  [
    'another request in its body',
    `${HEAD}Content-Length: ${SMUGGLED.length}\r\nConnection: close\r\n\r\n${SMUGGLED}`,
    SMUGGLED,
  ],
  [
    'headers in its trailers',
    `${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nMcp-Session-Id: x\r\nHost: evil\r\n\r\n`,
    'hello',
  ],
];

for (const [feature, bytes, body] of FORWARDED) {
  test(`forwards a request with ${feature} as a single request with a single framing`, async (t) => {
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

test('forwards pipelined requests one by one, and responds in order', async (t) => {
  const one = (path: string, more = '') => `GET /plain/${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`;
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

test('does not read the unread body of a refused request as the next request', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const connection = await connectRaw(app.url);
  connection.send(`POST /elsewhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n${SMUGGLED}`);
  const text = await soon('the connection closes', connection.closed());
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  assert.match(text, /^HTTP\/1\.1 403 /);
  assert.match(text, /connection: close/i);
  assert.equal(upstream.requests.length, 0);
});
