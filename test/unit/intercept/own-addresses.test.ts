import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { createOwnAddresses } from '../../../src/intercept/own-addresses.ts';

for (const [own, local, remote, refused] of [
  ['http://127.0.0.1:443', '127.0.0.1', '127.0.0.1', true],
  ['http://127.0.0.1:443', '127.0.0.1', '::ffff:127.0.0.1', true],
  ['http://127.0.0.1:443', '127.0.0.1', '127.0.0.2', false],
  ['http://127.0.0.1:443', '10.0.0.5', '192.0.2.1', false],
  ['http://127.0.0.1:8443', '127.0.0.1', '127.0.0.1', false],
  ['http://[::1]:443', '::1', '::1', true],
  ['http://0.0.0.0:443', '127.0.0.1', '127.0.0.1', true],
  ['http://0.0.0.0:443', '10.0.0.5', '10.0.0.5', true],
  ['http://[::]:443', '10.0.0.5', '10.0.0.6', false],
  ['unix:/run/c.sock', '127.0.0.1', '127.0.0.1', false],
] as const) {
  test(`${refused ? 'refuses' : 'allows'} a connection to ${remote}:443 while cambist listens on ${own}`, () => {
    const addresses = createOwnAddresses();
    addresses.add(own);
    const socket = { localAddress: local, remoteAddress: remote, remotePort: 443 } as Socket;
    assert.equal(addresses.refuse(socket) !== undefined, refused);
  });
}
