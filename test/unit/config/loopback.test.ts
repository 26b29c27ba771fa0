import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLocalSender, isLoopback, isLoopbackPeer, reachableHost } from '../../../src/config/loopback.ts';

const LOOPBACK = [
  'localhost',
  'LOCALHOST',
  'localhost.',
  'idp.localhost',
  'a.b.localhost.',
  'localhost.localdomain',
  'ip6-loopback',
  '127.0.0.1',
  '127.0.0.1.',
  '127.1',
  '127.255.255.254',
  '0x7f000001',
  '0177.0.0.1',
  '2130706433',
  '0.0.0.0',
  '0',
  '[::1]',
  '[0:0:0:0:0:0:0:1]',
  '[::]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f12:3456]',
  '[::ffff:0.0.0.0]',
  '%6cocalhost',
  'ｌocalhost',
];
for (const host of LOOPBACK) {
  test(`${host} is loopback`, () => {
    assert.equal(isLoopback(new URL(`http://${host}:8080/`).hostname), true);
  });
}

for (const host of [
  'idp.example.com',
  'localhost.example.com',
  'notlocalhost',
  'keycloak',
  'keycloak.idp.svc',
  '10.0.0.1',
  '128.0.0.1',
  '1.127.0.0',
  '[::2]',
  '[::ffff:10.0.0.1]',
  '[2001:db8::1]',
]) {
  test(`${host} is not loopback`, () => {
    assert.equal(isLoopback(new URL(`http://${host}:8080/`).hostname), false);
  });
}

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
