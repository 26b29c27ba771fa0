import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Agent } from 'undici';
import { checkOwnEndpoint, discover, metadataUrls, readMetadata } from '../../../src/tokens/discovery.ts';
import {
  type FakeAuthorizationServer,
  type MetadataMood,
  startFakeAuthorizationServer,
} from '../../harness/fake-authorization-server.ts';
import { failsWith, serverOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const TOKEN_ENDPOINT = 'https://idp.example.com/token';

const places: [issuer: string, first: string, second: string][] = [
  ['https://h', 'https://h/.well-known/oauth-authorization-server', 'https://h/.well-known/openid-configuration'],
  ['https://h/', 'https://h/.well-known/oauth-authorization-server', 'https://h/.well-known/openid-configuration'],
  [
    'https://h:8443/realms/agents',
    'https://h:8443/.well-known/oauth-authorization-server/realms/agents',
    'https://h:8443/realms/agents/.well-known/openid-configuration',
  ],
  [
    'https://h/tenant/v2.0/',
    'https://h/.well-known/oauth-authorization-server/tenant/v2.0',
    'https://h/tenant/v2.0/.well-known/openid-configuration',
  ],
];
for (const [issuer, ...urls] of places) {
  test(`the metadata of ${issuer} is looked for where RFC 8414 and OpenID put it`, () => {
    assert.deepEqual(metadataUrls(issuer), urls);
  });
}

const document = (fields: object = {}): string =>
  JSON.stringify({ issuer: ISSUER, token_endpoint: TOKEN_ENDPOINT, ...fields });
const read = (text: string, { status = 200, allowInsecureHttp = false } = {}) =>
  readMetadata({ status, retryAfter: undefined, text }, serverOf({ allowInsecureHttp }), ISSUER);

test('the token endpoint is taken from the metadata', () => {
  assert.deepEqual(read(document()), { tokenEndpoint: TOKEN_ENDPOINT });
  assert.deepEqual(read(document({ token_endpoint: `${TOKEN_ENDPOINT}?p=1` })), {
    tokenEndpoint: `${TOKEN_ENDPOINT}?p=1`,
  });
});

const unusable: [what: string, text: string, message: RegExp, status?: number][] = [
  ['another issuer', document({ issuer: 'https://evil.example.com' }), /another issuer: set "issuer"/],
  ['an issuer with a slash more', document({ issuer: `${ISSUER}/` }), /another issuer/],
  ['an issuer in other case', document({ issuer: 'https://IDP.example.com' }), /another issuer/],
  ['no issuer', document({ issuer: undefined }), /another issuer/],
  ['no token endpoint', document({ token_endpoint: undefined }), /no "token_endpoint"/],
  ['a token endpoint that is no URL', document({ token_endpoint: '/token' }), /no "token_endpoint"/],
  ['a token endpoint that is no text', document({ token_endpoint: [TOKEN_ENDPOINT] }), /no "token_endpoint"/],
  ['a token endpoint in clear', document({ token_endpoint: 'http://idp.example.com/token' }), /not https/],
  ['a token endpoint of another scheme', document({ token_endpoint: 'file:///etc/passwd' }), /not https/],
  ['HTML', '<!doctype html>', /no JSON/],
  ['null', 'null', /another issuer/],
  ['a list', '[]', /another issuer/],
  ['nothing', '', /no JSON/],
  ['status 404', document(), /answered with 404/, 404],
  ['status 302', document(), /answered with 302/, 302],
  ['status 503', document(), /answered with 503/, 503],
];
for (const [what, text, message, status = 200] of unusable) {
  test(`metadata is unusable: ${what}`, () => {
    assert.throws(() => read(text, { status }), failsWith('ERR_STS_UNAVAILABLE', message));
  });
}

test('a token endpoint in clear is taken on this machine, in the cluster, or where the config allows it', () => {
  for (const host of ['127.0.0.1:8080', 'localhost', 'keycloak', 'keycloak.idp.svc']) {
    assert.equal(read(document({ token_endpoint: `http://${host}/t` })).tokenEndpoint, `http://${host}/t`);
  }
  const token_endpoint = 'http://idp.example.com/token';
  assert.equal(read(document({ token_endpoint }), { allowInsecureHttp: true }).tokenEndpoint, token_endpoint);
  assert.throws(() => read(document({ token_endpoint: 'ftp://h/t' }), { allowInsecureHttp: true }));
});

const TLS = { ca: undefined, certificate: '/cert', privateKey: '/key' };
const MTLS_ENDPOINT = 'https://mtls.idp.example.com/token';
const readWithCertificate = (aliases: unknown) =>
  readMetadata(
    { status: 200, retryAfter: undefined, text: document({ mtls_endpoint_aliases: aliases }) },
    serverOf({ tls: TLS }),
    ISSUER,
  );

test('a client with a certificate takes the token endpoint that is for those', () => {
  assert.deepEqual(readWithCertificate({ token_endpoint: MTLS_ENDPOINT }), {
    tokenEndpoint: TOKEN_ENDPOINT,
    mtlsTokenEndpoint: MTLS_ENDPOINT,
  });
  for (const aliases of [undefined, null, 'x', {}, { revocation_endpoint: MTLS_ENDPOINT }]) {
    assert.deepEqual(readWithCertificate(aliases), { tokenEndpoint: TOKEN_ENDPOINT });
  }
  for (const token_endpoint of [7, '/token', 'http://mtls.idp.example.com/token']) {
    assert.throws(() => readWithCertificate({ token_endpoint }), failsWith('ERR_STS_UNAVAILABLE', /"token_endpoint"/));
  }
});

test('a client without a certificate does not care about that endpoint', () => {
  assert.deepEqual(read(document({ mtls_endpoint_aliases: { token_endpoint: MTLS_ENDPOINT } })), {
    tokenEndpoint: TOKEN_ENDPOINT,
  });
  assert.deepEqual(read(document({ mtls_endpoint_aliases: { token_endpoint: 7 } })), { tokenEndpoint: TOKEN_ENDPOINT });
});

const OTHERS = [
  serverOf({ name: 'blue', issuer: 'https://blue.example.com/realms/a' }),
  serverOf({ name: 'green', issuer: undefined, tokenEndpoint: 'https://green.example.com/t' }),
  serverOf({ name: 'same', issuer: ISSUER, tokenEndpoint: 'https://elsewhere.example.com/t' }),
];

test('metadata that lead to where another server is are refused, and those that lead elsewhere are not', () => {
  const check = (tokenEndpoint: string, mtlsTokenEndpoint?: string) =>
    checkOwnEndpoint(
      { tokenEndpoint, ...(mtlsTokenEndpoint !== undefined && { mtlsTokenEndpoint }) },
      serverOf({ issuer: ISSUER }),
      OTHERS,
    );
  for (const url of [TOKEN_ENDPOINT, 'https://oauth2.example.com/token', 'https://elsewhere.example.com/t']) check(url);
  for (const [url, name] of [
    ['https://blue.example.com/token', 'blue'],
    ['https://BLUE.example.com:443/realms/a/token', 'blue'],
    ['https://green.example.com/x', 'green'],
  ] as const) {
    const refusal = failsWith(
      'ERR_STS_UNAVAILABLE',
      new RegExp(`host of authorization server "${name}": .*set "token_endpoint"`),
    );
    assert.throws(() => check(url), refusal);
    assert.throws(() => check(TOKEN_ENDPOINT, url), refusal);
  }
});

async function setUp(t: TestContext, issuerPath = '') {
  const fake = await startFakeAuthorizationServer({ issuerPath });
  const agent = new Agent();
  t.after(async () => {
    await agent.destroy();
    await fake.close();
  });
  const find = (timeoutMs = 5000) =>
    discover(serverOf({ issuer: fake.issuer }), fake.issuer, agent, performance.now() + timeoutMs);
  return { fake, find };
}

/** Each place answers in its own way. */
function answerByPlace(fake: FakeAuthorizationServer, oauth: MetadataMood, openid: MetadataMood): void {
  fake.metadataMood = (path) => (path.includes('oauth-authorization-server') ? oauth : openid);
}

const NOT_FOUND: MetadataMood = { kind: 'answer', status: 404 };
const DOCUMENT: MetadataMood = { kind: 'document' };

for (const issuerPath of ['', '/realms/agents']) {
  test(`an issuer with the path "${issuerPath}" is found where RFC 8414 puts its metadata, in one request`, async (t) => {
    const { fake, find } = await setUp(t, issuerPath);
    assert.deepEqual(await find(), { tokenEndpoint: fake.tokenEndpoint });
    assert.deepEqual(fake.metadataRequests, [`/.well-known/oauth-authorization-server${issuerPath}`]);
  });

  test(`an issuer with the path "${issuerPath}" is found where OpenID puts its metadata`, async (t) => {
    const { fake, find } = await setUp(t, issuerPath);
    answerByPlace(fake, NOT_FOUND, DOCUMENT);
    assert.deepEqual(await find(), { tokenEndpoint: fake.tokenEndpoint });
    assert.equal(fake.metadataRequests[1], `${issuerPath}/.well-known/openid-configuration`);
  });
}

const detours: [what: string, mood: MetadataMood][] = [
  ['HTML with 200 (LemonLDAP::NG)', { kind: 'answer', status: 200, body: '<!doctype html><h1>Sign in</h1>' }],
  ['a redirect, which is not followed', { kind: 'answer', status: 302, headers: { location: '/elsewhere' } }],
  ['a broken connection', { kind: 'reset' }],
  ['a huge answer', { kind: 'huge', bytes: 1_000_000 }],
  ['a document of another issuer', { kind: 'document', fields: { issuer: 'https://other.example.com' } }],
];
for (const [what, mood] of detours) {
  test(`the second place is asked where the first gives ${what}`, async (t) => {
    const { fake, find } = await setUp(t);
    answerByPlace(fake, mood, DOCUMENT);
    assert.deepEqual(await find(), { tokenEndpoint: fake.tokenEndpoint });
    assert.equal(fake.metadataRequests.length, 2);
  });
}

test('what is wrong with a document is told, and not that the other place has none', async (t) => {
  const { fake, find } = await setUp(t);
  const foreign: MetadataMood = { kind: 'document', fields: { issuer: 'https://other.example.com' } };
  answerByPlace(fake, foreign, NOT_FOUND);
  await assert.rejects(find(), failsWith('ERR_STS_UNAVAILABLE', /another issuer/));
  answerByPlace(fake, NOT_FOUND, foreign);
  await assert.rejects(find(), failsWith('ERR_STS_UNAVAILABLE', /another issuer/));
});

test('an issuer without metadata in either place is unavailable', async (t) => {
  const { fake, find } = await setUp(t);
  fake.metadataMood = NOT_FOUND;
  await assert.rejects(find(), failsWith('ERR_STS_UNAVAILABLE', /"main": its metadata is answered with 404/));
});

for (const mood of [{ kind: 'hang' }, { kind: 'drip', intervalMs: 5 }] as const) {
  test(`metadata that does ${mood.kind} is given up in time, both places together`, async (t) => {
    const { fake, find } = await setUp(t);
    fake.metadataMood = mood;
    const startedMs = performance.now();
    await assert.rejects(find(100), failsWith('ERR_STS_UNAVAILABLE', /cannot be reached/));
    assert.ok(performance.now() - startedMs < 3000);
  });
}
