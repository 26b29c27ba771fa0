import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDuration, parseSize, tokenTypeUrn } from '../../../src/config/units.ts';
import { canonicalUri, readHttpUrl } from '../../../src/config/urls.ts';
import { words } from '../../harness/words.ts';
import { problemsOf, routeOf, routeProblems, VALID } from './sample.ts';

const STRICT = { allowInsecureHttp: false, allowQuery: false };

test('keeps the path of an upstream as written, and normalizes its origin', () => {
  const cases = [
    ['https://Example.COM', 'https://example.com', 'example.com', '', 'https://example.com'],
    ['https://example.com/', 'https://example.com', 'example.com', '', 'https://example.com'],
    ['HTTPS://example.com:443/MCP', 'https://example.com', 'example.com', '/MCP', 'https://example.com/MCP'],
    ['https://e.com:8443/a/', 'https://e.com:8443', 'e.com:8443', '/a/', 'https://e.com:8443/a'],
    ['http://docs-mcp:8080/mcp', 'http://docs-mcp:8080', 'docs-mcp:8080', '/mcp', 'http://docs-mcp:8080/mcp'],
    ['https://[::1]:9000/%7Ex', 'https://[::1]:9000', '[::1]:9000', '/%7Ex', 'https://[::1]:9000/%7Ex'],
  ] as const;
  for (const [url, origin, host, path, canonical] of cases) {
    const { upstream } = routeOf(`upstream: "${url}"\n`);
    assert.deepEqual(upstream, { origin, host, path });
    assert.equal(canonicalUri(upstream), canonical);
  }
});

test('allows plain http to loopback and cluster-internal names only', () => {
  for (const host of words(`
    localhost a.localhost 127.0.0.1 127.9.9.9:80 [::1]:8080 docs docs.tools.svc docs.tools.svc. a.svc.cluster.local
    printer.local x.internal
  `)) {
    assert.ok('value' in readHttpUrl(`http://${host}/mcp`, STRICT), host);
  }
  for (const host of words('example.com 10.0.0.1 [fd00::1] svc.example.com localhost.example.com 0x7f.1.2.3.4')) {
    assert.ok('problem' in readHttpUrl(`http://${host}/mcp`, STRICT), host);
    if (!host.startsWith('0x')) {
      assert.ok('value' in readHttpUrl(`http://${host}/mcp`, { ...STRICT, allowInsecureHttp: true }), host);
    }
  }
});

test('reads allow_insecure_http on a route, in defaults and on a server', () => {
  const insecure = 'upstream: http://example.com\n';
  assert.match(
    routeProblems(insecure)[0] ?? '',
    /^12:15: routes\[0\]\.upstream: must be https, .* allow_insecure_http/,
  );
  assert.equal(routeOf(`${insecure}allow_insecure_http: true\n`).upstream.origin, 'http://example.com');
  const route = VALID.replace('https://github-mcp', 'http://github-mcp');
  assert.deepEqual(problemsOf(`${route}defaults: { allow_insecure_http: true }\n`), []);
  const server = VALID.replace('https://idp', 'http://idp');
  assert.match(problemsOf(server)[0] ?? '', /^4:13: authorization_servers\.main\.issuer: must be https/);
  assert.deepEqual(problemsOf(server.replace('client_id:', 'allow_insecure_http: true\n    client_id:')), []);
});

test('warns when allow_insecure_http on a server has no effect', () => {
  const insecure = VALID.replace('client_id:', 'allow_insecure_http: true\n    client_id:');
  assert.deepEqual(problemsOf(insecure), [
    '5:26: warning: authorization_servers.main.allow_insecure_http: has no effect: an https issuer must name https ' +
      'endpoints: remove it, or set "token_endpoint"',
  ]);
  const endpoint = 'allow_insecure_http: true\n    token_endpoint: http://idp.example.com/token\n    client_id:';
  assert.deepEqual(problemsOf(VALID.replace('client_id:', endpoint)), []);
});

test('refuses an invalid upstream without showing its value', () => {
  const cases = [
    ['example.com/mcp', 'absolute URL, as in https://host.example.com/path'],
    ['/mcp', 'absolute URL'],
    ['https:/example.com', 'absolute URL'],
    ['ftp://example.com', 'https:// or http://'],
    ['https://user:hunter2@example.com', 'user name or password'],
    ['https://example.com/?token=hunter2', 'must not contain a query'],
    ['https://example.com/#hunter2', 'must not contain a fragment'],
    ['https://example.com/a/../b', '"." or ".."'],
    ['https://example.com/a/%2e%2e', '"." or ".."'],
    ['https://example.com/a b', 'percent-encode'],
    ['https://example.com\\@evil/', 'user name or password'],
    ['https://exa\\mple.com/', 'percent-encode'],
    ['https://bücher.example', 'percent-encode'],
    ['https://example.com/%zz', 'percent-encode'],
    ['https://', 'invalid host or port'],
    ['https://example.com:0', 'invalid host or port'],
    ['https://example.com:99999', 'invalid host or port'],
    ['https://[::1', 'invalid host or port'],
  ] as const;
  for (const [url, wrong] of cases) {
    const reading = readHttpUrl(url, STRICT);
    assert.ok('problem' in reading && reading.problem.includes(wrong), `${url}: ${JSON.stringify(reading)}`);
    assert.ok(!reading.problem.includes('hunter2'));
  }
});

test('allows a query in a token endpoint, but not in an issuer', () => {
  const endpoint = VALID.replace('issuer: ', 'token_endpoint: "https://x/token?tenant=1"\n    issuer: ');
  assert.deepEqual(problemsOf(endpoint), []);
  assert.deepEqual(problemsOf(VALID.replace('/agents', '/agents?x')), [
    '4:13: authorization_servers.main.issuer: must not contain a query: remove "?" and everything after it',
  ]);
});

for (const [credential, shown] of [
  ['exchange', 'tokens'],
  ['none', 'requests and responses'],
  ['passthrough', 'tokens'],
]) {
  test(`says that plain http shows ${shown} to the network on a route with credential: ${credential}`, () => {
    const [problem = '', ...more] = routeProblems(`upstream: http://mcp.example.com/mcp\ncredential: ${credential}\n`);
    assert.deepEqual(more, []);
    const expected = `upstream: must be https, because plain http would show ${shown} to the network`;
    assert.ok(problem.includes(expected), problem);
  });
}

test('reads a duration: a number with a unit, or 0 with or without a unit', () => {
  const valid = { '250ms': 250, '5s': 5000, '5m': 300_000, '1h': 3_600_000, '0': 0, '0s': 0, '0ms': 0 };
  for (const [text, ms] of Object.entries(valid)) assert.equal(parseDuration(text), ms, text);
  assert.equal(parseDuration(0), 0);
  for (const invalid of ['5', 5, '1.5s', '-1s', '00s', '05s', '5 s', '5d', '']) {
    assert.equal(parseDuration(invalid), undefined, String(invalid));
  }
});

test('reads a size: bytes, or a number with a binary unit', () => {
  const valid = { '64KiB': 65_536, '1MiB': 1_048_576, '1GiB': 1_073_741_824, '512': 512 };
  for (const [text, bytes] of Object.entries(valid)) assert.equal(parseSize(text), bytes, text);
  for (const number of [512, 0]) assert.equal(parseSize(number), number);
  for (const invalid of ['64KB', '64 KiB', -1, 1.5]) assert.equal(parseSize(invalid), undefined, String(invalid));
});

test('reads a token type: a short name or a full URN', () => {
  assert.equal(tokenTypeUrn('access_token'), 'urn:ietf:params:oauth:token-type:access_token');
  assert.equal(tokenTypeUrn('id-jag'), 'urn:ietf:params:oauth:token-type:id-jag');
  assert.equal(tokenTypeUrn('urn:example:token-type:x'), 'urn:example:token-type:x');
  assert.equal(tokenTypeUrn('https://example.com/types#x'), undefined);
  assert.equal(tokenTypeUrn('acces_token'), undefined);
});
