import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/config/load.ts';

const ROUTE = { name: 'a', match: { path: '/' }, upstream: 'http://a.svc', credential: 'none' };
const KEY = { key: { file: '/shared-key' } };

function read(shared: unknown) {
  const text = JSON.stringify({ version: 1, cache: { shared }, routes: [ROUTE] });
  const { config, problems } = parseConfig(text, 'test.yaml');
  return { shared: config?.cache.shared, problems: problems.map(({ path, message }) => `${path}: ${message}`) };
}

test('reads a server, its TLS and the defaults', () => {
  assert.deepEqual(read({ url: 'rediss://valkey.example.com', ...KEY }).shared, {
    server: { kind: 'standalone', node: { host: 'valkey.example.com', port: 6379 } },
    username: undefined,
    password: undefined,
    tls: { ca: undefined, certificate: undefined, privateKey: undefined },
    allowInsecureTcp: false,
    keys: [{ file: '/shared-key' }],
    prefix: 'cambist',
    timeoutMs: 100,
  });
  const { shared } = read({ url: 'redis://[::1]:7000/', ...KEY });
  assert.deepEqual(shared?.server, { kind: 'standalone', node: { host: '::1', port: 7000 } });
  assert.equal(shared.tls, undefined);
});

test('allows no password in a URL, and does not repeat it', () => {
  for (const url of ['redis://user:hunter2@valkey.svc', 'rediss://:hunter2@valkey.svc:6379']) {
    const { shared, problems } = read({ url, ...KEY });
    assert.equal(shared, undefined);
    assert.match(
      problems.join('\n'),
      /^cache\.shared\.url: must not contain a user name or password: set username and/,
    );
    assert.ok(!problems.join().includes('hunter2'));
  }
});

const PROBLEMS: readonly (readonly [unknown, RegExp])[] = [
  [{ ...KEY }, /cache\.shared: names no server: set "url", "sentinel" or "cluster"/],
  [{ url: 'redis://a.svc', cluster: ['b.svc:1'], ...KEY }, /has "url" and "cluster": keep one of them/],
  [{ url: 'http://a.svc', ...KEY }, /url: must start with rediss:\/\/ or redis:\/\//],
  [{ url: 'redis://a.svc/2', ...KEY }, /url: must end after the port/],
  [{ url: 'redis://a b', ...KEY }, /url: must have a host and a port/],
  [{ url: 'redis://a.svc:0', ...KEY }, /url: must have a host and a port/],
  [{ url: 'redis://valkey.example.com', ...KEY }, /url: must use TLS, .*: use rediss:\/\/, or set allow_insecure_tcp/],
  [{ cluster: ['valkey.example.com:6379'], ...KEY }, /cluster: must use TLS, .*: set tls, or set allow_insecure_tcp/],
  [{ url: 'redis://a.svc', tls: {}, ...KEY }, /tls: has no effect with redis:\/\/: write rediss:\/\/ in url/],
  [{ url: 'redis://a.svc', username: 'u', ...KEY }, /has "username" without "password"/],
  [{ cluster: ['a.svc'], ...KEY }, /cluster\[0\]: must have a host and a port/],
  [{ sentinel: { name: 'm', hosts: ['unix:/x'] }, ...KEY }, /sentinel\.hosts\[0\]: must have a host and a port/],
  [{ url: 'redis://a.svc', ...KEY, timeout: '10s' }, /timeout: must be at most 5s/],
  [{ url: 'redis://a.svc', ...KEY, prefix: 'a:b' }, /prefix: must consist of letters/],
  [{ url: 'redis://a.svc' }, /cache\.shared.*key/],
  [{ url: 'redis://a.svc', key: 'inline' }, /key: must be \{ file: … \} or \{ env: … \}, or a list of them/],
];

for (const [shared, expected] of PROBLEMS) {
  test(`reports ${JSON.stringify(shared)}`, () => {
    const { problems, shared: resolved } = read(shared);
    assert.match(problems.join('\n'), expected);
    assert.equal(resolved, undefined);
  });
}

test('allows plain TCP to internal names and loopback, and elsewhere if told', () => {
  for (const url of ['redis://valkey.agents.svc', 'redis://127.0.0.1', 'redis://valkey', 'redis://[::1]']) {
    assert.deepEqual(
      read({ url, ...KEY }).problems.filter((text) => !text.includes('cannot be read')),
      [],
    );
  }
  const shared = { sentinel: { name: 'm', hosts: ['a.example.com:26379'] }, allow_insecure_tcp: true, ...KEY };
  assert.equal(read(shared).shared?.server.kind, 'sentinel');
});
