import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import * as oauth from 'oauth4webapi';
import { startTestApp } from '../harness/app.ts';
import {
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  type TokenRequest,
} from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { echo } from '../harness/upstream-handlers.ts';

const SECRET = "a secret: with /+%&= and -_.~!'()* in it";
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });

type Written = Record<string, unknown>;

/** A way to show who we are, as the config writes it and as the peer does it. */
interface Method {
  readonly written: (file: (text: string) => { file: string }) => Written;
  readonly peer: () => Promise<oauth.ClientAuth>;
}

const METHODS: Record<string, Method> = {
  none: { written: () => ({}), peer: async () => oauth.None() },
  client_secret_post: {
    written: (file) => ({ client_secret: file(SECRET) }),
    peer: async () => oauth.ClientSecretPost(SECRET),
  },
  client_secret_basic: {
    written: (file) => ({ client_secret: file(SECRET) }),
    peer: async () => oauth.ClientSecretBasic(SECRET),
  },
  client_secret_jwt: {
    written: (file) => ({ client_secret: file(SECRET) }),
    peer: async () => oauth.ClientSecretJwt(SECRET),
  },
  private_key_jwt: {
    written: (file) => ({
      private_key: file(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()),
      key_id: 'one',
    }),
    peer: async () => oauth.PrivateKeyJwt({ key: await webKey(pair.privateKey), kid: 'one' }),
  },
};

function webKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', der, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
}

/** Lets cambist and the peer ask for the same. @returns what each of them sent */
async function askBoth(
  t: TestContext,
  method: string,
  server: Written,
  route: Written,
  peerAsks: (fake: FakeAuthorizationServer, subject: string, resource: string) => [grant: string, fields: string[][]],
): Promise<{ ours: TokenRequest; peers: TokenRequest }> {
  const fake = await startFakeAuthorizationServer();
  const upstream = await startFakeUpstream(echo);
  const folder = mkdtempSync(join(tmpdir(), 'cambist-peer-'));
  t.after(async () => {
    await fake.close();
    await upstream.close();
    rmSync(folder, { recursive: true });
  });
  const file = (text: string) => {
    writeFileSync(join(folder, 'credential'), text);
    return { file: join(folder, 'credential') };
  };
  const known = METHODS[method];
  assert.ok(known !== undefined);
  const app = await startTestApp(t, {
    authorization_servers: {
      local: { issuer: fake.issuer, client_id: 'cambist', client_auth: { method, ...known.written(file) }, ...server },
    },
    routes: [
      {
        name: 'github',
        match: { path: '/github' },
        upstream: `${upstream.url}/mcp`,
        ...route,
      },
    ],
  });
  const subject = await fake.mint();
  const answered = await call(`${app.url}/github`, { headers: { authorization: `Bearer ${subject}` }, body: '{}' });
  assert.equal(answered.status, 200, answered.text);

  const as = { issuer: fake.issuer, token_endpoint: fake.tokenEndpoint };
  const client: oauth.Client = { client_id: 'cambist' };
  const [grant, fields] = peerAsks(fake, subject, `${upstream.url}/mcp`);
  const response = await oauth.genericTokenEndpointRequest(as, client, await known.peer(), grant, fields, {
    [oauth.allowInsecureRequests]: true,
    ...(server.dpop === true && { DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) }),
  });
  assert.equal(response.status, 200);
  const [ours, peers] = fake.requests;
  assert.ok(ours !== undefined && peers !== undefined);
  return { ours, peers };
}

/** Fields in no order, and of a JWT made for the request what does not change each time. */
function fieldsOf({ form }: TokenRequest): [string, unknown][] {
  return [...form]
    .map(([name, value]): [string, unknown] => [name, name === 'client_assertion' ? jwtOf(value) : value])
    .sort(([one], [other]) => one.localeCompare(other));
}

function jwtOf(jwt: string) {
  const { iat = 0, exp = 0, nbf, jti, aud, ...claims } = decodeJwt(jwt);
  const { typ: _typ, ...header } = decodeProtectedHeader(jwt);
  assert.ok(jti !== undefined && nbf === iat);
  return { header, claims, aud, lifeSeconds: exp - iat };
}

/** What HTTP itself needs, and who it says that it is. */
const OF_THE_CLIENT = new Set([
  'host',
  'connection',
  'content-length',
  'user-agent',
  'accept-encoding',
  'accept-language',
]);

function headersOf({ headers }: TokenRequest): Record<string, unknown> {
  const ours = Object.entries(headers).filter(([name]) => !OF_THE_CLIENT.has(name) && !name.startsWith('sec-'));
  const comparable = (name: string, value: unknown) => {
    if (name === 'dpop') return proofOf(String(value));
    // `fetch` adds a parameter that this media type does not have.
    return name === 'content-type' ? String(value).replace(';charset=UTF-8', '') : value;
  };
  return Object.fromEntries(ours.map(([name, value]) => [name, comparable(name, value)]));
}

function proofOf(proof: string) {
  const { iat, jti, ...claims } = decodeJwt(proof);
  const { jwk, ...header } = decodeProtectedHeader(proof);
  assert.ok(iat !== undefined && jti !== undefined);
  return { header, claims, key: Object.keys(jwk ?? {}).sort() };
}

const asks =
  (more: (subject: string, resource: string) => string[][], grant = EXCHANGE) =>
  (_fake: FakeAuthorizationServer, subject: string, resource: string): [string, string[][]] => [
    grant,
    more(subject, resource),
  ];
const exchange = asks((subject, resource) => [
  ['subject_token', subject],
  ['subject_token_type', `${TOKEN_TYPE}access_token`],
  ['resource', resource],
]);

for (const method of ['none', 'client_secret_post', 'private_key_jwt']) {
  test(`with ${method} the request is that of an independent client`, async (t) => {
    const { ours, peers } = await askBoth(t, method, {}, {}, exchange);
    assert.deepEqual(fieldsOf(ours), fieldsOf(peers));
    assert.deepEqual(headersOf(ours), headersOf(peers));
  });
}

test('with client_secret_jwt it is, and the algorithm is the same', async (t) => {
  const { ours, peers } = await askBoth(t, 'client_secret_jwt', {}, {}, exchange);
  assert.deepEqual(fieldsOf(ours), fieldsOf(peers));
});

test('with client_secret_basic it is, but that -_.~ stay as they are: what both mean is the same', async (t) => {
  const { ours, peers } = await askBoth(t, 'client_secret_basic', {}, {}, exchange);
  assert.deepEqual(fieldsOf(ours), fieldsOf(peers));
  const { authorization: our = '', ...ourHeaders } = headersOf(ours) as Record<string, string>;
  const { authorization: theirs = '', ...theirHeaders } = headersOf(peers) as Record<string, string>;
  assert.deepEqual(ourHeaders, theirHeaders);
  const sent = [our, theirs].map((header) => Buffer.from(header.slice('Basic '.length), 'base64').toString());
  const [ourPair = '', theirPair = ''] = sent;
  assert.ok(ourPair.includes('-_.~') && theirPair.includes('%2D%5F%2E%7E'));
  const meant = sent.map((text) => text.split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' '))));
  assert.deepEqual(meant, [
    ['cambist', SECRET],
    ['cambist', SECRET],
  ]);
});

test('each parameter of a token exchange is, and repeats where it may', async (t) => {
  const route = {
    resource: ['https://a.example.com/x?y=1&z', 'https://b.example.com'],
    audience: ['one', 'two words'],
    scope: 'read write',
    requested_token_type: 'jwt',
    expect_audience: 'any',
  };
  const { ours, peers } = await askBoth(
    t,
    'none',
    { extra_params: { connector_id: 'x y' } },
    route,
    asks((subject) => [
      ['subject_token', subject],
      ['subject_token_type', `${TOKEN_TYPE}access_token`],
      ...route.resource.map((uri) => ['resource', uri]),
      ...route.audience.map((name) => ['audience', name]),
      ['scope', 'read write'],
      ['requested_token_type', `${TOKEN_TYPE}jwt`],
      ['connector_id', 'x y'],
    ]),
  );
  assert.deepEqual(fieldsOf(ours), fieldsOf(peers));
});

test('an assertion on behalf of a caller is', async (t) => {
  const { ours, peers } = await askBoth(
    t,
    'private_key_jwt',
    { grant: 'jwt_bearer', extra_params: { requested_token_use: 'on_behalf_of' } },
    { scope: 'api://b/.default', expect_audience: 'any' },
    asks(
      (subject) => [
        ['assertion', subject],
        ['scope', 'api://b/.default'],
        ['requested_token_use', 'on_behalf_of'],
      ],
      JWT_BEARER,
    ),
  );
  assert.deepEqual(fieldsOf(ours), fieldsOf(peers));
});

test('a token of our own is', async (t) => {
  const { ours, peers } = await askBoth(
    t,
    'client_secret_post',
    {},
    { credential: 'client_credentials' },
    asks((_subject, resource) => [['resource', resource]], 'client_credentials'),
  );
  assert.deepEqual(fieldsOf(ours), fieldsOf(peers));
});

test('a proof of possession is', async (t) => {
  const { ours, peers } = await askBoth(t, 'none', { dpop: true }, {}, exchange);
  assert.deepEqual(headersOf(ours), headersOf(peers));
});
