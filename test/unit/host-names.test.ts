import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLoopback, isPublicName } from '../../src/host-names.ts';
import { words } from '../harness/words.ts';

test('tells public host names from addresses and internal names', () => {
  for (const host of words('127.0.0.1 10.1.2.3 [::1] localhost a.svc a.local x.internal app.localhost')) {
    assert.equal(isPublicName(host), false, host);
  }
  for (const host of ['example.com', '127.0.0.1.example.com', '127.1', 'svc.example.com', 'localhost.example.com']) {
    assert.equal(isPublicName(host), true, host);
  }
});

const LOOPBACK = words(`
  localhost LOCALHOST localhost. idp.localhost a.b.localhost. localhost.localdomain ip6-loopback 127.0.0.1
  127.0.0.1. 127.1 127.255.255.254 0x7f000001 0177.0.0.1 2130706433 0.0.0.0 0 [::1] [0:0:0:0:0:0:0:1] [::]
  [::ffff:127.0.0.1] [::ffff:7f12:3456] [::ffff:0.0.0.0] %6cocalhost ｌocalhost
`);
for (const host of LOOPBACK) {
  test(`${host} is loopback`, () => {
    assert.equal(isLoopback(new URL(`http://${host}:8080/`).hostname), true);
  });
}

for (const host of words(`
  idp.example.com localhost.example.com notlocalhost keycloak keycloak.idp.svc 10.0.0.1 128.0.0.1 1.127.0.0 [::2]
  [::ffff:10.0.0.1] [2001:db8::1]
`)) {
  test(`${host} is not loopback`, () => {
    assert.equal(isLoopback(new URL(`http://${host}:8080/`).hostname), false);
  });
}
