import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readListen } from '../../../src/config/addresses.ts';
import { configOf, problemsOf, VALID } from './sample.ts';

test('reads an address as host and port, or as the path of a Unix socket', () => {
  const cases = [
    ['127.0.0.1:8180', { kind: 'tcp', host: '127.0.0.1', port: 8180 }],
    ['0.0.0.0:0', { kind: 'tcp', host: '0.0.0.0', port: 0 }],
    ['LocalHost:80', { kind: 'tcp', host: 'localhost', port: 80 }],
    ['[::1]:8180', { kind: 'tcp', host: '::1', port: 8180 }],
    ['[0:0::1]:8180', { kind: 'tcp', host: '::1', port: 8180 }],
    ['unix:/run/cambist.sock', { kind: 'unix', path: '/run/cambist.sock' }],
  ] as const;
  for (const [text, value] of cases) assert.deepEqual(readListen(text), { value }, text);
});

test('refuses an invalid address', () => {
  for (const text of [
    '8180',
    ':8180',
    '*:8180',
    'http://x:80',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '300.0.0.1:80',
    '1.2.3:80',
    '[::1::]:80',
    '::1:80',
    'a b:80',
    'unix:run.sock',
    'unix:/run/',
    'unix:/a\0b',
    `unix:/${'x'.repeat(107)}`,
  ]) {
    assert.ok('problem' in readListen(text), text);
  }
});

test('refuses the same address for listen and admin', () => {
  const both = (listen: string, admin: string) => problemsOf(`${VALID}listen: "${listen}"\nadmin: "${admin}"\n`);
  const clash = ['14:8: admin: listen and admin have the same address: change one'];
  assert.deepEqual(both('127.0.0.1:80', '127.0.0.1:80'), clash);
  assert.deepEqual(both('127.0.0.1:80', 'localhost:80'), clash);
  assert.deepEqual(both('127.0.0.1:80', '0.0.0.0:80'), clash);
  assert.deepEqual(both('[::]:80', '127.0.0.1:80'), clash);
  assert.deepEqual(both('unix:/a', 'unix:/a'), clash);
  assert.deepEqual(both('127.0.0.1:0', '127.0.0.1:0'), []);
  assert.deepEqual(both('127.0.0.1:80', '127.0.0.2:80'), []);
  assert.deepEqual(both('unix:/a', 'unix:/b'), []);
  assert.deepEqual(both('unix:/a', '127.0.0.1:80'), []);
  assert.deepEqual(problemsOf(`${VALID}listen: 127.0.0.1:9180\n`), [
    '13:9: listen: listen and admin have the same address: change one',
  ]);
});

test('listens on loopback by default', () => {
  const { listen, admin } = configOf(VALID);
  assert.deepEqual(listen, { kind: 'tcp', host: '127.0.0.1', port: 8180 });
  assert.deepEqual(admin, { kind: 'tcp', host: '127.0.0.1', port: 9180 });
});

test('warns of an upstream that is cambist itself', () => {
  const withListen = (listen: string, upstream: string) =>
    problemsOf(`listen: '${listen}'\n${VALID.replace('https://github-mcp.example.com/mcp', upstream)}`);
  for (const [listen, upstream] of [
    ['127.0.0.1:8180', 'http://127.0.0.1:8180/mcp'],
    ['127.0.0.1:8180', 'http://localhost:8180'],
    ['localhost:80', 'http://127.0.0.1'],
    ['0.0.0.0:8180', 'http://127.0.0.1:8180/mcp'],
    ['[::1]:8180', 'http://[::1]:8180/mcp'],
  ] as const) {
    assert.deepEqual(
      withListen(listen, upstream),
      [
        '13:15: warning: routes[0].upstream: is the address of cambist itself, so requests would loop: set the URL of the backend',
      ],
      `${listen} ${upstream}`,
    );
  }
  for (const [listen, upstream] of [
    ['127.0.0.1:8180', 'http://127.0.0.1:8181/mcp'],
    ['127.0.0.1:8180', 'https://127.0.0.1:8180/mcp'],
    ['0.0.0.0:8180', 'http://github-mcp:8180/mcp'],
    ['127.0.0.1:0', 'http://127.0.0.1:8180/mcp'],
    ['unix:/run/cambist.sock', 'http://127.0.0.1:8180/mcp'],
  ] as const) {
    assert.deepEqual(withListen(listen, upstream), [], `${listen} ${upstream}`);
  }
});

test('reads the mode of Unix sockets, and warns of a mode without a socket', () => {
  const withMode = (mode: string, listen = 'unix:/run/cambist/proxy.sock') =>
    `${VALID}listen: ${listen}\nsocket_mode: ${mode}\n`;
  assert.equal(configOf(VALID).socketMode, 0o660);
  assert.equal(configOf(withMode('"0600"')).socketMode, 0o600);
  assert.equal(configOf(withMode('"666"')).socketMode, 0o666);
  for (const mode of ['0660', '660', '"0860"', '"0060"', '"rw"', '"01660"']) {
    assert.match(problemsOf(withMode(mode))[0] ?? '', /socket_mode: must be octal permissions in quotes/, mode);
  }
  assert.match(
    problemsOf(withMode('"0660"', '127.0.0.1:8180'))[0] ?? '',
    /socket_mode: has no effect: no listener is a Unix socket/,
  );
});
