import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { excludedRoutes, interceptedHosts } from '../../../src/intercept/hosts.ts';
import { createOwnAddresses } from '../../../src/intercept/interception.ts';
import { createAuthority } from '../../../src/transport/certificates.ts';
import { configOf } from '../../harness/app.ts';

const LIFETIME = { notBefore: new Date(), notAfter: new Date(Date.now() + 3_600_000) };

function routesOf(hosts: readonly (string | undefined)[]) {
  const routes = hosts.map((host, index) => ({
    name: `r${index}`,
    match: host === undefined ? { path: '/' } : { host, path: '/' },
    upstream: 'http://127.0.0.1:1',
    credential: 'none',
  }));
  return configOf({ routes }).routes;
}

test('lists each host of the routes once, and addresses without brackets', () => {
  const hosts = ['a.example.com', undefined, '*.tools.svc', '[::1]', '10.0.0.1'];
  const same = { name: 'same', match: { host: 'a.example.com', path: '/b' }, upstream: 'http://127.0.0.1:1' };
  const routes = [...routesOf(hosts), ...configOf({ routes: [{ ...same, credential: 'none' }] }).routes];
  assert.deepEqual(interceptedHosts(routes), ['a.example.com', '*.tools.svc', '::1', '10.0.0.1']);
});

for (const [constraints, host, excluded] of [
  [['a.example.com'], 'a.example.com', false],
  [['a.example.com'], 'x.a.example.com', false],
  [['a.example.com'], 'b.example.com', true],
  [['a.example.com'], 'xa.example.com', true],
  [['a.example.com'], '*.example.com', true],
  [['example.com'], '*.example.com', false],
  [['*.tools.svc'], '*.tools.svc', false],
  [['*.tools.svc'], '*.x.tools.svc', false],
  [['*.tools.svc'], 'tools.svc', true],
  [['a.example.com'], '10.0.0.1', true],
  [['a.example.com'], '[::1]', true],
  [['10.0.0.1'], '10.0.0.1', false],
  [['10.0.0.1'], '10.0.0.2', true],
  [['10.0.0.1'], '[::1]', true],
  [['::1'], '[::1]', false],
  [['::1'], 'a.example.com', true],
  [undefined, '10.0.0.1', false],
] as [string[] | undefined, string, boolean][]) {
  test(`an authority for ${constraints ?? 'every host'} ${excluded ? 'excludes' : 'permits'} ${host}`, () => {
    const { cert } = createAuthority({ commonName: 'CA', ...(constraints && { hosts: constraints }), ...LIFETIME });
    assert.equal(excludedRoutes(cert, routesOf([host])).length, Number(excluded));
  });
}

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
