import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startRawUpstream } from '../../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../../harness/gateway.ts';
import { call, sendRaw } from '../../harness/http-call.ts';
import { HEAD, REFUSED_FRAMINGS, SMUGGLED } from '../../harness/refused-framings.ts';

/** Sends bytes on a new connection. Settles with everything received when the connection closes. */
async function exchange(t: TestContext, bytes: string) {
  const { app, upstream } = await startPlainGateway(t);
  const text = await sendRaw(app.url, bytes);
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

const OLD_HEAD = HEAD.replace('HTTP/1.1', 'HTTP/1.0');

const UNCLEAR_FRAMINGS = [
  [HEAD, `Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello`],
  ...['gzip, chunked', 'gzip\r\nTransfer-Encoding: chunked', 'identity, chunked', 'xchunked', 'chunked;q=1'].map(
    (coding) => [HEAD, `Transfer-Encoding: ${coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n`] as const,
  ),
  [OLD_HEAD, `Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`],
  [OLD_HEAD, `Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
] as const;

for (const bytes of UNCLEAR_FRAMINGS.flatMap(([head, framing]) => [
  `${head}${framing}`,
  // The response to an MCP message has the id in its body, which must not delay the close.
  `${head}Content-Type: application/json\r\nMcp-Method: ping\r\n${framing}`,
])) {
  test(`serves no request behind a refused framing: ${JSON.stringify(bytes)}`, async (t) => {
    const { app, upstream } = await startPlainGateway(t);
    // From here on, an upstream connection is open, and a request would be sent at once.
    assert.equal((await call(`${app.url}/plain`)).status, 200);
    const text = await sendRaw(app.url, `${bytes}${SMUGGLED}${SMUGGLED}`);
    // Some versions of Node refuse it themselves.
    assert.match(text, /^HTTP\/1\.1 (400 |403 [\s\S]*"code":"ERR_ROUTE_NOT_FOUND")/);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
    await app.metricBecomes('cambist_requests_in_flight', 0);
    assert.equal(upstream.requests.length, 1);
  });
}

const CHUNKED = `${HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
const TRAILERS = 'Authorization: Bearer x\r\nMcp-Session-Id: x\r\nHost: evil\r\n';

const FORWARDED: readonly (readonly [feature: string, bytes: string, body?: string])[] = [
  ['chunk extensions', `${CHUNKED}5;a=b;c="d"\r\nhello\r\n0\r\n\r\n`],
  ['chunks of different sizes', `${CHUNKED}1\r\nh\r\n00004\r\nello\r\n0\r\n\r\n`],
  ['chunked in capitals', `${CHUNKED.replace('chunked', 'CHUNKED')}5\r\nhello\r\n0\r\n\r\n`],
  ['headers in its trailers', `${CHUNKED}5\r\nhello\r\n0\r\n${TRAILERS}\r\n`],
  ['a Content-Length with leading zeros', `${HEAD}Connection: close\r\nContent-Length: 005\r\n\r\nhello`],
  [
    'another request in its body',
    `${HEAD}Connection: close\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
    SMUGGLED,
  ],
];

for (const [feature, bytes, body = 'hello'] of FORWARDED) {
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
  const head = 'POST /elsewhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n';
  const text = await sendRaw(app.url, `${head}\r\n${SMUGGLED}`);
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  assert.match(text, /^HTTP\/1\.1 403 /);
  assert.match(text, /connection: close/i);
  assert.equal(upstream.requests.length, 0);
});

test('passes values from the authorization server to the caller only as base64 or as a number', async (t) => {
  const { app, authorizationServer } = await startGateway(t);
  const ask = async () => {
    const authorization = `Bearer ${await authorizationServer.mint()}`;
    return call(`${app.url}/github`, { headers: { authorization } });
  };
  const evil = 'x"\r\nX-Injected: 1\r\n\r\n<script>';
  const claims = JSON.stringify({ access_token: { acr: evil } });
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'interaction_required', claims } };
  const interaction = await ask();
  assert.equal(
    interaction.headers['www-authenticate'],
    `Bearer error="insufficient_claims", claims="${Buffer.from(claims).toString('base64')}"`,
  );
  for (const body of [{ error: evil }, { error: 'invalid_grant', error_description: evil }, evil]) {
    authorizationServer.behaviour = { kind: 'response', status: 400, body };
    const response = await ask();
    assert.ok(!`${JSON.stringify(response.rawHeaders)}${response.text}`.includes('Injected'));
  }
  authorizationServer.behaviour = { kind: 'response', status: 503, headers: { 'retry-after': 'never "x' } };
  assert.match((await ask()).headers['retry-after'] ?? '', /^\d+$/);
  assert.ok(!app.logText().includes('\r\nX-Injected'));
});

test('forwards thousands of headers or refuses the request, but never drops one silently', async (t) => {
  const upstream = await startRawUpstream(t, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 'keep');
  const { app } = await startPlainGateway(t, { route: { upstream: `${upstream.url}/mcp` } });
  const many = Array.from({ length: 3000 }, () => 'a:b\r\n').join('');
  const last = 'X-Last: 1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello';
  assert.match(await sendRaw(app.url, `${HEAD}${many}${last}`), /^HTTP\/1\.1 200 /);
  const seen = upstream.received[0] ?? '';
  assert.equal(seen.match(/^a: b\r$/gm)?.length, 3000);
  assert.match(seen, /X-Last: 1[\s\S]*hello$/);
  const [one, other] = ['first', 'second'].map((name) => `Authorization: Bearer ${name}-of-two\r\n`);
  const doubled = `${HEAD}${one}${many}${other}Connection: close\r\n\r\n`;
  assert.match(await sendRaw(app.url, doubled), /^HTTP\/1\.1 401 /);
  assert.equal(upstream.received.length, 1);
});
