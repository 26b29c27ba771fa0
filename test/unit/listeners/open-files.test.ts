import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { fitConnections, logAcceptErrors, withinOpenFiles } from '../../../src/listeners/open-files.ts';
import { isLocalSender, isLoopbackPeer, reachableHost } from '../../../src/listeners/this-machine.ts';
import { configOf } from '../../harness/app.ts';
import { listen } from '../../harness/http-server.ts';

const CONFIG = { routes: [{ name: 'a', match: { path: '/' }, upstream: 'http://127.0.0.1:1', credential: 'none' }] };

test('lowers limits.max_connections only where the process may open too few files', () => {
  const warned: string[] = [];
  const warn = (...[, msg]: readonly unknown[]) => void warned.push(String(msg));
  const fit = (files: number, written = {}) => {
    const { limits } = fitConnections(configOf({ ...CONFIG, ...written }), { warn }, files);
    return [limits.maxConnections, limits.cappedByFiles];
  };
  assert.deepEqual(fit(Infinity), [20_000, undefined]);
  assert.deepEqual(fit(1_048_576), [20_000, undefined]);
  assert.deepEqual(fit(1024), [384, 1024]);
  assert.deepEqual(warned, []);
  assert.deepEqual(fit(1024, { limits: { max_connections: 20_000 } }), [384, 1024]);
  assert.match(warned.join(), /lowered from 20000 to 384: the process may open only 1024 files; raise .* ulimit -n$/);
});

test('leaves room for other connections', () => {
  assert.equal(withinOpenFiles(256, Infinity), 256);
  assert.equal(withinOpenFiles(256, 4096), 256);
  assert.equal(withinOpenFiles(256, 1024), 128);
  assert.equal(withinOpenFiles(256, 3), 1);
});

test('names too many open files as the cause of a connection that is not accepted', async (t) => {
  const lines: string[] = [];
  const server = createServer();
  logAcceptErrors(server, 'listen', { error: (...[, msg]: readonly unknown[]) => void lines.push(String(msg)) });
  server.emit('error', Object.assign(new Error('listen'), { code: 'EADDRINUSE' }));
  await listen(server);
  t.after(() => server.close());
  server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
  assert.deepEqual(lines, [
    'listen cannot accept a connection: too many open files (EMFILE); raise the limit of open files, as with ulimit -n',
  ]);
});

test('names the loopback address at which this machine reaches a listener', () => {
  const hosts = ['0.0.0.0', '::', 'localhost', '10.0.0.7', 'constructor'];
  assert.deepEqual(hosts.map(reachableHost), ['127.0.0.1', '::1', '127.0.0.1', '10.0.0.7', 'constructor']);
});

test('recognizes a peer on this machine by its address', () => {
  const addresses = [undefined, '127.0.0.9', '::1', '::ffff:127.0.0.1', '::ffff:10.0.0.7', '10.127.0.1', '::2'];
  assert.deepEqual(addresses.map(isLoopbackPeer), [false, true, true, true, false, false, false]);
});

test('a sender without an address is on this machine only at a Unix socket', () => {
  const tcp = { address: '0.0.0.0', family: 'IPv4', port: 9180 };
  assert.equal(isLocalSender(undefined, '/run/cambist/admin.sock'), true);
  assert.equal(isLocalSender('127.0.0.1', tcp), true);
  for (const [address, listening] of [
    [undefined, tcp],
    [undefined, null],
    ['10.0.0.7', tcp],
  ] as const) {
    assert.equal(isLocalSender(address, listening), false);
  }
});
