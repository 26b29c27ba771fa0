import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { createEndpointClaims } from '../../../src/tokens/endpoint-claims.ts';
import { failsWith, serverOf } from './sample.ts';

const red = serverOf({ name: 'red', issuer: 'https://red.example.com/realms/a' });
const blue = serverOf({ name: 'blue', issuer: 'https://blue.example.com/realms/a' });
const green = serverOf({ name: 'green', issuer: undefined, tokenEndpoint: 'https://tokens.example.net/green/token' });
const redAgain = serverOf({ name: 'red-again', issuer: red.issuer, clientId: 'other' });

const OWN = 'https://red.example.com/realms/a/token';
/** On a host of neither issuer. */
const SHARED = 'https://tokens.example.net/blue/token';

function setUp(...servers: AuthorizationServer[]) {
  let all = servers.length === 0 ? [red, blue, green, redAgain] : servers;
  const claims = createEndpointClaims(() => all);
  const refuses = (server: AuthorizationServer, endpoint: string, message: RegExp) =>
    assert.throws(() => claims.claim(server, [endpoint]), failsWith('ERR_STS_METADATA_INVALID', message));
  const reload = (...next: AuthorizationServer[]) => {
    all = next;
  };
  return { claims, refuses, reload };
}

test('accepts an endpoint that belongs to no other server', () => {
  const { claims } = setUp(red, blue);
  claims.claim(red, [OWN]);
  claims.claim(blue, [SHARED]);
  claims.claim(red, [OWN, 'https://mtls.example.com/token']);
  assert.ok(claims.holds(red) && claims.holds(blue));
});

for (const [endpoint, name] of [
  ['https://blue.example.com/token', 'blue'],
  ['https://BLUE.example.com:443/realms/a/token', 'blue'],
  ['https://tokens.example.net/x', 'green'],
] as const) {
  test(`refuses an endpoint on the host of another server: ${endpoint}`, () => {
    const { claims, refuses } = setUp();
    const message = new RegExp(`host of authorization server "${name}": .*set "token_endpoint"`);
    refuses(red, endpoint, message);
    assert.throws(() => claims.claim(red, [OWN, endpoint]), failsWith('ERR_STS_METADATA_INVALID', message));
  });
}

const spellings = [
  SHARED,
  `${SHARED}?tenant=red`,
  `${SHARED}/`,
  'https://TOKENS.example.net:443//blue/token',
  'https://tokens.example.net/blue/%74oken',
  'https://tokens.example.net/Blue/TOKEN',
  'https://tokens.example.net/x/../blue/token',
];
for (const endpoint of spellings) {
  test(`refuses the discovered endpoint of another server: ${endpoint}`, () => {
    const { claims, refuses } = setUp(red, blue);
    claims.claim(red, [OWN]);
    claims.claim(blue, [SHARED]);
    refuses(red, endpoint, /names the token endpoint of authorization server "blue": .*set "token_endpoint"/);
    assert.ok(claims.holds(red), 'the earlier endpoint stays in use');
    assert.ok(claims.holds(blue));
  });
}

test('leaves an endpoint to the first server that named it, until that server names another', () => {
  const { claims, refuses } = setUp(red, blue);
  claims.claim(red, [SHARED]);
  refuses(blue, SHARED, /"blue".*token endpoint of authorization server "red"/);
  assert.deepEqual([claims.holds(red), claims.holds(blue)], [true, false]);
  claims.claim(red, [SHARED]);
  claims.claim(red, [OWN]);
  claims.claim(blue, [SHARED]);
  assert.ok(claims.holds(red) && claims.holds(blue));
});

test('lets the server on the host of the endpoint keep it, in any order', () => {
  const third = serverOf({ name: 'third', issuer: 'https://blue.example.com/realms/b' });
  const endpoint = 'https://blue.example.com/realms/b/token';
  const { claims, refuses } = setUp(red, third);
  refuses(red, endpoint, /host of authorization server "third"/);
  claims.claim(third, [endpoint]);
  assert.equal(claims.holds(third), true);
});

test('refuses an endpoint of another tenant on the same host', () => {
  const tenant = serverOf({ name: 'tenant', issuer: 'https://red.example.com/realms/b' });
  const { claims, refuses } = setUp(red, tenant);
  claims.claim(red, [OWN]);
  refuses(tenant, OWN, /token endpoint of authorization server "red"/);
});

test('refuses an endpoint that the config gives another server on the same host', () => {
  const tenant = serverOf({ name: 'tenant', issuer: 'https://red.example.com/realms/b', tokenEndpoint: `${OWN}?b` });
  const { refuses } = setUp(red, tenant);
  refuses(red, OWN, /token endpoint of authorization server "tenant"/);
});

test('lets servers with the same issuer share an endpoint', () => {
  const { claims } = setUp();
  claims.claim(red, [OWN]);
  claims.claim(redAgain, [OWN]);
  assert.ok(claims.holds(red) && claims.holds(redAgain));
});

test('forgets the endpoint of a server that a reload removes or gives another issuer', () => {
  const { claims, reload } = setUp(red, blue);
  claims.claim(blue, [SHARED]);
  reload(red);
  claims.claim(red, [SHARED]);
  const movedBlue = serverOf({ name: 'blue', issuer: 'https://new.example.com' });
  reload(red, movedBlue);
  assert.ok(claims.holds(red));
  claims.claim(movedBlue, ['https://new.example.com/token']);
  assert.ok(claims.holds(red) && claims.holds(movedBlue));
});
