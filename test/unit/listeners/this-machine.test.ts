import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLocalSender, isLoopbackPeer, reachableHost } from '../../../src/listeners/this-machine.ts';

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
