import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import * as oauth from 'oauth4webapi';
import { startFakeAuthorizationServer, type TokenRequest } from '../harness/fake-authorization-server.ts';
import { startGateway } from '../harness/gateway.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import { words } from '../harness/words.ts';

const SECRET = "a secret: with /+%&= and -_.~!'()* in it";
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

type Keys = Record<string, unknown>;
type WriteFile = ReturnType<typeof writerInto>;

/** A method of client authentication: its keys in the config, and its counterpart in oauth4webapi. */
const METHODS: Record<string, [keys: (write: WriteFile) => Keys, reference: () => Promise<oauth.ClientAuth>]> = {
  none: [() => ({}), async () => oauth.None()],
  client_secret_post: [withSecret, async () => oauth.ClientSecretPost(SECRET)],
  client_secret_basic: [withSecret, async () => oauth.ClientSecretBasic(SECRET)],
  client_secret_jwt: [withSecret, async () => oauth.ClientSecretJwt(SECRET)],
  private_key_jwt: [
    (write) => ({ private_key: write('key', pem), key_id: 'one' }),
    async () => oauth.PrivateKeyJwt({ key: await webKey(pair.privateKey), kid: 'one' }),
  ],
};

function withSecret(write: WriteFile): Keys {
  return { client_secret: write('secret', SECRET) };
}

function webKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', der, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
}

interface Request {
  readonly method?: string;
  /** Keys of the server and of the route. */
  readonly server?: Keys;
  readonly route?: Keys;
  readonly grant?: string;
  readonly fields?: (subject: string, resource: string) => string[][];
}

/** Sends the same token request with cambist and with oauth4webapi. @returns both requests as the server received them */
async function sendBoth(
  t: TestContext,
  { method = 'none', server = {}, route = {}, grant = EXCHANGE, fields = exchangeFields }: Request,
): Promise<{ ours: TokenRequest; theirs: TokenRequest }> {
  const [keys, reference] = METHODS[method] ?? assert.fail();
  const client_auth = { method, ...keys(writerInto(temporaryFolder(t))) };
  const fake = await startFakeAuthorizationServer(t);
  const local = { issuer: fake.issuer, client_id: 'cambist', client_auth, ...server };
  const top = { authorization_servers: { local } };
  const { upstream, subjectToken, send } = await startGateway(t, { authorizationServer: fake, route, top });
  const { status, text } = await send({}, '{}');
  assert.equal(status, 200, text);

  const as = { issuer: fake.issuer, token_endpoint: fake.tokenEndpoint };
  const client: oauth.Client = { client_id: 'cambist' };
  const parameters = fields(subjectToken, `${upstream.url}/mcp`);
  const response = await oauth.genericTokenEndpointRequest(as, client, await reference(), grant, parameters, {
    [oauth.allowInsecureRequests]: true,
    ...(server.dpop === true && { DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) }),
  });
  assert.equal(response.status, 200);
  const [ours, theirs] = fake.requests;
  assert.ok(ours !== undefined && theirs !== undefined);
  return { ours, theirs };
}

function exchangeFields(subject: string, resource: string): string[][] {
  return [
    ['subject_token', subject],
    ['subject_token_type', `${TOKEN_TYPE}access_token`],
    ['resource', resource],
  ];
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

const RICH = {
  resource: ['https://a.example.com/x?y=1&z', 'https://b.example.com'],
  audience: ['one', 'two words'],
  scope: 'read write',
  requested_token_type: 'jwt',
  expect_audience: 'any',
};
const REQUESTS: Record<string, Request> = {
  'without client authentication': {},
  'with client_secret_post': { method: 'client_secret_post' },
  'with client_secret_jwt, and the same algorithm': { method: 'client_secret_jwt' },
  'with private_key_jwt': { method: 'private_key_jwt' },
  'with an equivalent proof of possession': { server: { dpop: true } },
  'with all parameters of an exchange, also repeated ones': {
    server: { extra_params: { connector_id: 'x y' } },
    route: RICH,
    fields: (subject) => [
      ['subject_token', subject],
      ['subject_token_type', `${TOKEN_TYPE}access_token`],
      ...RICH.resource.map((uri) => ['resource', uri]),
      ...RICH.audience.map((name) => ['audience', name]),
      ['scope', 'read write'],
      ['requested_token_type', `${TOKEN_TYPE}jwt`],
      ['connector_id', 'x y'],
    ],
  },
  'with an assertion on behalf of a caller': {
    method: 'private_key_jwt',
    server: { grant: 'jwt_bearer', extra_params: { requested_token_use: 'on_behalf_of' } },
    route: { scope: 'api://b/.default', expect_audience: 'any' },
    grant: JWT_BEARER,
    fields: (subject) => [
      ['assertion', subject],
      ['scope', 'api://b/.default'],
      ['requested_token_use', 'on_behalf_of'],
    ],
  },
  'with client credentials': {
    method: 'client_secret_post',
    route: { credential: 'client_credentials' },
    grant: 'client_credentials',
    fields: (_subject, resource) => [['resource', resource]],
  },
};
for (const [what, request] of Object.entries(REQUESTS)) {
  test(`sends the same token request as oauth4webapi ${what}`, async (t) => {
    const { ours, theirs } = await sendBoth(t, request);
    assert.deepEqual(fieldsOf(ours), fieldsOf(theirs));
    assert.deepEqual(headersOf(ours), headersOf(theirs));
  });
}

test('sends an equivalent client_secret_basic: only oauth4webapi escapes -_.~', async (t) => {
  const { ours, theirs } = await sendBoth(t, { method: 'client_secret_basic' });
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
