import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readHostPattern, readPathPrefix } from '../../../src/config/matching.ts';
import { configOf, problemsOf, VALID } from './sample.ts';

test('reads a host in lower case, without a trailing dot', () => {
  const cases = [
    ['github-mcp.tools.svc', 'github-mcp.tools.svc'],
    ['GitHub.Tools.SVC.', 'github.tools.svc'],
    ['*.Tools.svc', '*.tools.svc'],
    ['docs_mcp', 'docs_mcp'],
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '[::1]'],
    ['[0:0:0:0:0:0:0:1]', '[::1]'],
  ] as const;
  for (const [written, host] of cases) assert.deepEqual(readHostPattern(written), { value: host });
});

test('refuses an invalid host', () => {
  const cases = [
    ['http://x', 'remove the scheme and the path'],
    ['x/y', 'remove the scheme and the path'],
    ['x:80', 'must not contain a port'],
    ['[::1]:80', 'must not contain a port'],
    ['[::1', 'IPv6 address in brackets'],
    ['[::1::]', 'IPv6 address in brackets'],
    ['::1', 'IPv6 in brackets'],
    ['*', 'to match any host, remove the key'],
    ['x.*', 'first label'],
    ['*.*.x', 'first label'],
    ['*.', 'remove the key'],
    ['a..b', 'must be a host name'],
    ['-a', 'must be a host name'],
    ['a b', 'must be a host name'],
    ['bücher.example', 'must be a host name'],
    ['user@host', 'must be a host name'],
    [`${'a.'.repeat(127)}a`, 'must be a host name'],
  ] as const;
  for (const [written, wrong] of cases) {
    const reading = readHostPattern(written);
    assert.ok('problem' in reading && reading.problem.includes(wrong), `${written}: ${JSON.stringify(reading)}`);
  }
});

test('reads a path as a prefix of whole segments, without a trailing slash', () => {
  const cases = [
    ['/', '/'],
    ['/mcp', '/mcp'],
    ['/mcp/', '/mcp'],
    ['/a/b-c_d~e', '/a/b-c_d~e'],
    ['/%C3%A9', '/%C3%A9'],
    ['/...', '/...'],
  ] as const;
  for (const [written, path] of cases) assert.deepEqual(readPathPrefix(written), { value: path });
});

test('refuses a path that servers may read in two ways', () => {
  const cases = [
    ['mcp', 'must start with "/"'],
    ['/a?b', 'must be only a path'],
    ['/a#b', 'must be only a path'],
    ['/a%2Fb', 'encoded slash'],
    ['/a%5cb', 'encoded slash'],
    ['/a\\b', 'encoded slash'],
    ['/a/../b', '"." or ".."'],
    ['/.', '"." or ".."'],
    ['/%2e%2E/b', '"." or ".."'],
    ['/..;x/b', '"." or ".."'],
    ['/a//b', 'empty segment'],
    ['/a b', 'percent-encode'],
    ['/é', 'percent-encode'],
    ['/%zz', 'percent-encode'],
  ] as const;
  for (const [written, wrong] of cases) {
    const reading = readPathPrefix(written);
    assert.ok('problem' in reading && reading.problem.includes(wrong), `${written}: ${JSON.stringify(reading)}`);
  }
});

test('requires a host or a path', () => {
  assert.deepEqual(problemsOf(VALID.replace('{ path: /github }', '{}')), [
    '11:12: routes[0].match: needs a host or a path: write path: / to match all requests',
  ]);
  assert.deepEqual(problemsOf(VALID.replace('{ path: /github }', '{ host: 5 }')), [
    '11:20: routes[0].match.host: must be a string: put it in quotes',
  ]);
});

test('warns of "*" in a path, which is not a wildcard', () => {
  const text = VALID.replace('{ path: /github }', '{ path: /github/* }');
  assert.deepEqual(problemsOf(text), [
    '11:20: warning: routes[0].match.path: contains "*", which is not a wildcard here: a path is a prefix, so remove "*" to match everything below it',
  ]);
  assert.equal(configOf(text).routes[0]?.match.path, '/github/*');
});

test('refuses two routes that match the same request', () => {
  const second = (match: string) =>
    `${VALID.replace('{ path: /github }', '{ host: A.svc, path: /x }')}  - { name: b, match: ${match}, upstream: "https://x" }\n`;
  assert.deepEqual(problemsOf(second('{ host: a.SVC., path: /x/ }')), [
    '13:23: routes[1].match: matches the same requests as routes[0].match: change the host or the path of one',
  ]);
  for (const match of ['{ host: "*.svc", path: /x }', '{ path: /x }', '{ host: a.svc }', '{ host: a.svc, path: /X }']) {
    assert.deepEqual(problemsOf(second(match)), []);
  }
});

test('refuses two routes with one name', () => {
  assert.deepEqual(problemsOf(`${VALID}  - { name: github, match: { path: /b }, upstream: "https://x" }\n`), [
    '13:13: routes[1].name: is also the name of routes[0]: choose another name',
  ]);
});
