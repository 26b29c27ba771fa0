import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { authenticateClient } from '../../../src/tokens/client-auth.ts';
import { createEndpointClaims } from '../../../src/tokens/endpoint-claims.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, serverOf } from './sample.ts';

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

test('a refused claim takes nothing from the owner, also as the first of its server', () => {
  const { claims, refuses } = setUp(red, blue);
  claims.claim(blue, [SHARED]);
  refuses(red, SHARED, /"red".*token endpoint of authorization server "blue"/);
  assert.deepEqual([claims.holds(red), claims.holds(blue)], [false, true]);
});

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

test('does not hold an endpoint that was never claimed', () => {
  assert.equal(setUp().claims.holds(red), false);
});

const ISSUER = 'https://idp.example.com';
const clock = createFakeClock();

test('a public client sends its id', async () => {
  assert.deepEqual(await authenticateClient(serverOf(), ISSUER, clock), {
    authorization: undefined,
    fields: [['client_id', 'cambist']],
    sent: [],
  });
  assert.deepEqual(await authenticateClient(serverOf({ clientId: undefined }), ISSUER, clock), {
    authorization: undefined,
    fields: [],
    sent: [],
  });
});

test('client_secret_post sends id and secret in the form', async (t) => {
  const file = folderOf(t).write('secret', 's3 cr&t\n');
  const server = serverOf({ clientAuth: { method: 'client_secret_post', clientSecret: { file } } });
  assert.deepEqual(await authenticateClient(server, ISSUER, clock), {
    authorization: undefined,
    fields: [
      ['client_id', 'cambist'],
      ['client_secret', 's3 cr&t'],
    ],
    sent: [],
  });
});

const basics: [encoding: 'form' | 'raw', id: string, secret: string, pair: string][] = [
  ['form', 'cambist', 'secret', 'cambist:secret'],
  ['form', 'a-b_c.d~e', 'A-Z_a.z~0', 'a-b_c.d~e:A-Z_a.z~0'],
  ['form', 'https://id', 'a:b', 'https%3A%2F%2Fid:a%3Ab'],
  ['form', 'a b', '+%&=/?', 'a+b:%2B%25%26%3D%2F%3F'],
  ['form', 'client', "!'()*", 'client:%21%27%28%29%2A'],
  ['form', 'client', 'pässwörd€', 'client:p%C3%A4ssw%C3%B6rd%E2%82%AC'],
  ['raw', 'a b', '+%&=/:?', 'a b:+%&=/:?'],
  ['raw', 'client', 'pässwörd€', 'client:pässwörd€'],
];
for (const [basicEncoding, clientId, secret, pair] of basics) {
  test(`client_secret_basic sends "${pair}" with the encoding ${basicEncoding}`, async (t) => {
    const file = folderOf(t).write('secret', secret);
    const server = serverOf({
      clientId,
      clientAuth: { method: 'client_secret_basic', clientSecret: { file }, basicEncoding },
    });
    const { authorization, fields } = await authenticateClient(server, ISSUER, clock);
    assert.deepEqual(fields, []);
    const [scheme, value = ''] = authorization?.split(' ') ?? [];
    assert.equal(scheme, 'Basic');
    assert.equal(Buffer.from(value, 'base64').toString('utf8'), pair);
  });
}

test('form-encodes a secret reversibly', async (t) => {
  const secret = String.fromCharCode(...Array.from({ length: 94 }, (_, i) => 33 + i));
  const file = folderOf(t).write('secret', secret);
  const server = serverOf({
    clientAuth: { method: 'client_secret_basic', clientSecret: { file }, basicEncoding: 'form' },
  });
  const { authorization = '' } = await authenticateClient(server, ISSUER, clock);
  const [, encoded = ''] = Buffer.from(authorization.slice(6), 'base64').toString().split(':');
  assert.equal(new URLSearchParams(`v=${encoded}`).get('v'), secret);
});

test('reads the secret at each use, so that it can rotate', async (t) => {
  const folder = folderOf(t);
  const file = folder.write('secret', 'old');
  const server = serverOf({ clientAuth: { method: 'client_secret_post', clientSecret: { file } } });
  const sent = async () => (await authenticateClient(server, ISSUER, clock)).fields[1]?.[1];
  assert.equal(await sent(), 'old');
  folder.write('secret', 'new');
  assert.equal(await sent(), 'new');
});

test('creates the header of client_secret_basic for each client and secret', async (t) => {
  const folder = folderOf(t);
  const file = folder.write('secret', 'old');
  const clientAuth = { method: 'client_secret_basic', clientSecret: { file }, basicEncoding: 'form' } as const;
  const one = serverOf({ clientId: 'one', clientAuth });
  const two = serverOf({ clientId: 'two', clientAuth });
  const credentialsOf = async (server: AuthorizationServer) => {
    const { authorization = '', sent } = await authenticateClient(server, ISSUER, clock);
    return [
      Buffer.from(authorization.slice(6), 'base64').toString(),
      sent.find(({ name }) => name === 'client_secret')?.value,
    ];
  };
  assert.deepEqual(await credentialsOf(one), ['one:old', 'old']);
  assert.deepEqual(await credentialsOf(one), ['one:old', 'old']);
  assert.deepEqual(await credentialsOf(two), ['two:old', 'old']);
  folder.write('secret', 'new');
  assert.deepEqual(await credentialsOf(one), ['one:new', 'new']);
});

test('sends a secret from the environment', async (t) => {
  process.env.CAMBIST_TEST_SECRET = 'from-env';
  t.after(() => delete process.env.CAMBIST_TEST_SECRET);
  const server = serverOf({
    clientAuth: { method: 'client_secret_post', clientSecret: { env: 'CAMBIST_TEST_SECRET' } },
  });
  assert.equal((await authenticateClient(server, ISSUER, clock)).fields[1]?.[1], 'from-env');
});

test('names an unreadable secret in the error', async (t) => {
  const missing = { file: `${folderOf(t).path}/absent` };
  for (const clientAuth of [
    { method: 'client_secret_post', clientSecret: missing },
    { method: 'client_secret_basic', clientSecret: missing, basicEncoding: 'form' },
  ] as const) {
    await assert.rejects(
      async () => authenticateClient(serverOf({ clientAuth }), ISSUER, clock),
      failsWith('ERR_CREDENTIAL_UNAVAILABLE', /client secret of authorization server "main".*absent/),
    );
  }
});
