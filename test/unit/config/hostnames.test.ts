import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLoopback } from '../../../src/config/hostnames.ts';

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
