import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto';
import { writeFileSync } from 'node:fs';
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
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { words } from '../harness/words.ts';

const SECRET = "a secret: with /+%&= and -_.~!'()* in it";
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });

type Keys = Record<string, unknown>;

/** A method of client authentication: its keys in the config, and its counterpart in oauth4webapi. */
interface Method {
  readonly keys: (file: (text: string) => { file: string }) => Keys;
  readonly reference: () => Promise<oauth.ClientAuth>;
}

const METHODS: Record<string, Method> = {
  none: { keys: () => ({}), reference: async () => oauth.None() },
  client_secret_post: {
    keys: (file) => ({ client_secret: file(SECRET) }),
    reference: async () => oauth.ClientSecretPost(SECRET),
  },
  client_secret_basic: {
    keys: (file) => ({ client_secret: file(SECRET) }),
    reference: async () => oauth.ClientSecretBasic(SECRET),
  },
  client_secret_jwt: {
    keys: (file) => ({ client_secret: file(SECRET) }),
    reference: async () => oauth.ClientSecretJwt(SECRET),
  },
  private_key_jwt: {
    keys: (file) => ({
      private_key: file(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()),
      key_id: 'one',
    }),
    reference: async () => oauth.PrivateKeyJwt({ key: await webKey(pair.privateKey), kid: 'one' }),
  },
};

function webKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', der, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
}

/** Sends the same token request with cambist and with oauth4webapi. @returns both requests as the server received them */
async function sendBoth(
  t: TestContext,
  method: string,
  server: Keys,
  route: Keys,
  request: (fake: FakeAuthorizationServer, subject: string, resource: string) => [grant: string, fields: string[][]],
): Promise<{ ours: TokenRequest; theirs: TokenRequest }> {
  const fake = await startFakeAuthorizationServer(t);
  const upstream = await startFakeUpstream(t, echo);
  const folder = temporaryFolder(t);
  const file = (text: string) => {
    writeFileSync(join(folder, 'credential'), text);
    return { file: join(folder, 'credential') };
  };
  const known = METHODS[method];
  assert.ok(known !== undefined);
  const app = await startTestApp(t, {
    authorization_servers: {
      local: { issuer: fake.issuer, client_id: 'cambist', client_auth: { method, ...known.keys(file) }, ...server },
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
  const { status, text } = await call(`${app.url}/github`, {
    headers: { authorization: `Bearer ${subject}` },
    body: '{}',
  });
  assert.equal(status, 200, text);

  const as = { issuer: fake.issuer, token_endpoint: fake.tokenEndpoint };
  const client: oauth.Client = { client_id: 'cambist' };
  const [grant, fields] = request(fake, subject, `${upstream.url}/mcp`);
  const response = await oauth.genericTokenEndpointRequest(as, client, await known.reference(), grant, fields, {
    [oauth.allowInsecureRequests]: true,
    ...(server.dpop === true && { DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) }),
  });
  assert.equal(response.status, 200);
  const [ours, theirs] = fake.requests;
  assert.ok(ours !== undefined && theirs !== undefined);
  return { ours, theirs };
}

/** The fields in alphabetical order. A client assertion is reduced to the claims that are the same in every request. */
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

/** Headers that depend on the HTTP client. */
const CLIENT_HEADERS = new Set(words('host connection content-length user-agent accept-encoding accept-language'));

function headersOf({ headers }: TokenRequest): Record<string, unknown> {
  const ours = Object.entries(headers).filter(([name]) => !CLIENT_HEADERS.has(name) && !name.startsWith('sec-'));
  const comparable = (name: string, value: unknown) => {
    if (name === 'dpop') return proofOf(String(value));
    // `fetch` adds a parameter that this media type does not define.
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

const grantRequest =
  (more: (subject: string, resource: string) => string[][], grant = EXCHANGE) =>
  (_fake: FakeAuthorizationServer, subject: string, resource: string): [string, string[][]] => [
    grant,
    more(subject, resource),
  ];
const exchange = grantRequest((subject, resource) => [
  ['subject_token', subject],
  ['subject_token_type', `${TOKEN_TYPE}access_token`],
  ['resource', resource],
]);

for (const method of ['none', 'client_secret_post', 'private_key_jwt']) {
  test(`sends the same token request as oauth4webapi with ${method}`, async (t) => {
    const { ours, theirs } = await sendBoth(t, method, {}, {}, exchange);
    assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
    assert.deepEqual(headersOf(ours), headersOf(theirs));
  });
}

test('sends the same client_secret_jwt as oauth4webapi, with the same algorithm', async (t) => {
  const { ours, theirs } = await sendBoth(t, 'client_secret_jwt', {}, {}, exchange);
  assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
});

test('sends an equivalent client_secret_basic: only oauth4webapi escapes -_.~', async (t) => {
  const { ours, theirs } = await sendBoth(t, 'client_secret_basic', {}, {}, exchange);
  assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
  const { authorization: our = '', ...ourHeaders } = headersOf(ours) as Record<string, string>;
  const { authorization: their = '', ...theirHeaders } = headersOf(theirs) as Record<string, string>;
  assert.deepEqual(ourHeaders, theirHeaders);
  const sent = [our, their].map((header) => Buffer.from(header.slice('Basic '.length), 'base64').toString());
  const [ourPair = '', theirPair = ''] = sent;
  assert.ok(ourPair.includes('-_.~') && theirPair.includes('%2D%5F%2E%7E'));
  const decoded = sent.map((text) => text.split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' '))));
  assert.deepEqual(decoded, [
    ['cambist', SECRET],
    ['cambist', SECRET],
  ]);
});

test('sends the same parameters of a token exchange as oauth4webapi, including repeated ones', async (t) => {
  const route = {
    resource: ['https://a.example.com/x?y=1&z', 'https://b.example.com'],
    audience: ['one', 'two words'],
    scope: 'read write',
    requested_token_type: 'jwt',
    expect_audience: 'any',
  };
  const { ours, theirs } = await sendBoth(
    t,
    'none',
    { extra_params: { connector_id: 'x y' } },
    route,
    grantRequest((subject) => [
      ['subject_token', subject],
      ['subject_token_type', `${TOKEN_TYPE}access_token`],
      ...route.resource.map((uri) => ['resource', uri]),
      ...route.audience.map((name) => ['audience', name]),
      ['scope', 'read write'],
      ['requested_token_type', `${TOKEN_TYPE}jwt`],
      ['connector_id', 'x y'],
    ]),
  );
  assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
});

test('sends the same assertion on behalf of a caller as oauth4webapi', async (t) => {
  const { ours, theirs } = await sendBoth(
    t,
    'private_key_jwt',
    { grant: 'jwt_bearer', extra_params: { requested_token_use: 'on_behalf_of' } },
    { scope: 'api://b/.default', expect_audience: 'any' },
    grantRequest(
      (subject) => [
        ['assertion', subject],
        ['scope', 'api://b/.default'],
        ['requested_token_use', 'on_behalf_of'],
      ],
      JWT_BEARER,
    ),
  );
  assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
});

test('sends the same request for client credentials as oauth4webapi', async (t) => {
  const { ours, theirs } = await sendBoth(
    t,
    'client_secret_post',
    {},
    { credential: 'client_credentials' },
    grantRequest((_subject, resource) => [['resource', resource]], 'client_credentials'),
  );
  assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
});

test('sends an equivalent proof of possession as oauth4webapi', async (t) => {
  const { ours, theirs } = await sendBoth(t, 'none', { dpop: true }, {}, exchange);
  assert.deepEqual(headersOf(ours), headersOf(theirs));
});
