import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startPlainGateway } from '../../harness/gateway.ts';
import { sendRaw } from '../../harness/http-call.ts';
import { words } from '../../harness/words.ts';

/** One route with a host and one without, both to the same upstream. */
async function startTwo(t: TestContext) {
  const { app, upstream } = await startPlainGateway(t);
  const route = (name: string, match: object, path: string) => {
    return { name, match, upstream: `${upstream.url}${path}`, credential: 'none' };
  };
  app.reloadTo({
    routes: [
      route('named', { host: 'named.svc', path: '/named' }, '/mcp'),
      route('plain', { path: '/plain' }, '/base/mcp'),
    ],
  });
  const ask = (target: string, host = 'localhost'): Promise<string> => {
    upstream.requests.length = 0;
    return sendRaw(app.url, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  };
  return { app, upstream, ask };
}

/** Paths that some server may read as outside the prefix, or as below another prefix. */
const TRAVERSALS = words(`
  /plain/.. /plain/../admin /plain/./../admin /plain/..%2fadmin /plain/..%2Fadmin /plain%2f..%2fadmin
  /plain/%2e%2e/admin /plain/%2E%2e%2fadmin /plain/.%2e/admin /plain/..;/admin /plain/..;x=y/admin
  /plain/..%3b/admin /plain/..\\admin /plain\\..\\admin /plain/..%5cadmin /plain/x/../../admin /plain/%2e
  /plain/%c0%ae%c0%ae/admin /plain/..%C0%AFadmin /plain/..%c1%9cadmin /plain/%e0%80%ae%e0%80%ae/admin
  /plain/..%e0%81%9cadmin /plain/%f0%80%80%ae%f0%80%80%ae/admin /plain/..%f0%80%81%9cadmin
  /plain/..%00/admin /plain/..%20/admin /plain/%2e.%09%3bx /plain/..%3fx /plain/.%23/x /plain//..%00
  /plain/..%f8%80%80%80%afadmin /plain/%fc%80%80%80%80%ae/a /plain/%u002e%u002e/admin /plain/..%U002fadmin
  /../plain /./plain http://h/plain/../admin http://named.svc/named/..%2fadmin
`);

test('returns 403 for a path that could leave its prefix, and sends nothing upstream', async (t) => {
  const { ask, upstream } = await startTwo(t);
  for (const target of TRAVERSALS) {
    assert.match(await ask(target), /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/, target);
    assert.equal(upstream.requests.length, 0, target);
  }
});

test('returns 403 or 400 for a path that only resembles a prefix', async (t) => {
  const { ask, upstream } = await startTwo(t);
  const targets = words('/plainx /PLAIN /%70lain //plain ///plain/x /plain;x /plain%2fx /plain%00 /;/plain * /admin');
  for (const target of targets) {
    assert.match(await ask(target), /^HTTP\/1\.1 (403|400) /, target);
    assert.equal(upstream.requests.length, 0, target);
  }
});

test('forwards the path below a prefix unchanged', async (t) => {
  const { ask, upstream } = await startTwo(t);
  const below = words(`
    // //evil.example.com/x /;/x /a;b=c /%2f%2fx /%00 /%0d%0aX-Injected:%201 /... /@evil.example.com
    /http://evil.example.com ?/../x ?a=b#c /% /%zz/%0 /%E2%82%ac%00 /a%2Fb /[x];y=1,2 //double/// ?a=%&b=+
  `);
  for (const rest of [...below, '/"<>^`{|}', `?q=${'x'.repeat(16_000)}`]) {
    await ask(`/plain${rest}`);
    assert.deepEqual(
      upstream.requests.map(({ url, headers }) => [url, headers['x-injected']]),
      [[`/base/mcp${rest}`, undefined]],
    );
  }
  await ask('/plain#c');
  assert.equal(upstream.requests.length, 0);
});

test("routes an absolute-form target by its authority, and sends the upstream's own name as Host", async (t) => {
  const { ask, upstream, app } = await startTwo(t);
  const upstreamHost = new URL(upstream.url).host;
  for (const [target, host, seen] of [
    ['http://named.svc/named/x?y', 'h', '/mcp/x?y'],
    ['http://named.svc/named/x', 'evil.example.com', '/mcp/x'],
    ['HTTP://NAMED.svc:80/named', 'h', '/mcp'],
    ['http://evil.example.com/named', 'named.svc', undefined],
    ['http://evil.example.com/plain', 'named.svc', undefined],
    ['http://localhost/plain', 'named.svc', '/base/mcp'],
    ['http://named.svc@evil.example.com/named', 'named.svc', undefined],
    ['http://evil.example.com#@named.svc/named', 'named.svc', undefined],
    ['http://evil.example.com\\@named.svc/named', 'named.svc', undefined],
    ['http:/named', 'named.svc', undefined],
    ['http:named.svc/named', 'named.svc', undefined],
    ['ftp://named.svc/named', 'named.svc', undefined],
    ['//named.svc/named', 'evil.example.com', undefined],
    [`http://${upstreamHost}/mcp`, 'h', undefined],
  ] as const) {
    const text = await ask(target, host);
    assert.deepEqual(
      upstream.requests.map(({ url }) => url),
      seen === undefined ? [] : [seen],
      `${target}, ${host}: ${text.slice(0, 40)}`,
    );
    for (const { headers } of upstream.requests) assert.equal(headers.host, upstreamHost);
  }
  assert.ok(!app.logText().includes('evil.example.com'));
});

test('returns 403 or 400 for a missing, invalid or repeated Host, also on a route for every host', async (t) => {
  const { ask, upstream, app } = await startTwo(t);
  const malformed = words('named.svc/ evil@named.svc named.svc:x a@b a/b a?b a#b a:b a:1:2 [::1 a\\b h\u00e9 http://h');
  const several = ['named.svc, evil', 'named.svc evil', 'x\r\nHost: named.svc', 'named.svc\r\nHost: named.svc'];
  for (const host of [...malformed, ...several]) {
    for (const target of ['/named', '/plain', 'http://h/plain']) {
      assert.match(await ask(target, host), /^HTTP\/1\.1 403 /, `${host} ${target}`);
      assert.equal(upstream.requests.length, 0, host);
    }
  }
  assert.match(await ask('/named', ''), /^HTTP\/1\.1 403 /);
  assert.equal(upstream.requests.length, 0);
  assert.match(await sendRaw(app.url, 'GET /named HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 400 /);
});
