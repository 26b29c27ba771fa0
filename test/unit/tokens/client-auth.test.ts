import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { authenticateClient } from '../../../src/tokens/client-auth.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, serverOf } from './sample.ts';

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
