import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { discover, metadataUrls, readJwksUri, readMetadata } from '../../../src/tokens/discovery.ts';
import { createEndpointClaims } from '../../../src/tokens/endpoint-claims.ts';
import {
  type FakeAuthorizationServer,
  type MetadataBehaviour,
  startFakeAuthorizationServer,
} from '../../harness/fake-authorization-server.ts';
import { dispatcherOf, failsWith, serverOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const TOKEN_ENDPOINT = 'https://idp.example.com/token';

for (const [issuer, origin, path] of [
  ['https://h/', 'https://h', ''],
  ['https://h:8443/realms/agents', 'https://h:8443', '/realms/agents'],
  ['https://h/tenant/v2.0/', 'https://h', '/tenant/v2.0'],
] as const) {
  test(`looks for the metadata of ${issuer} at the URLs of RFC 8414 and OpenID`, () => {
    const oauth = `${origin}/.well-known/oauth-authorization-server${path}`;
    assert.deepEqual(metadataUrls(issuer), [oauth, `${origin}${path}/.well-known/openid-configuration`]);
  });
}

const document = (fields: object = {}): string =>
  JSON.stringify({ issuer: ISSUER, token_endpoint: TOKEN_ENDPOINT, ...fields });
const read = (text: string, { status = 200, server = {} } = {}) =>
  readMetadata({ status, retryAfter: undefined, text }, serverOf({ issuer: ISSUER, ...server }), 'token_endpoint');
const only = (endpoint: string) => ({ endpoint, claimed: [endpoint] });

const unusable: [what: string, text: string, message: RegExp, status?: number][] = [
  ['another issuer', document({ issuer: 'https://evil.example.com' }), /another issuer: set "issuer"/],
  ['an issuer with a slash at the end', document({ issuer: `${ISSUER}/` }), /another issuer/],
  ['an issuer in other case', document({ issuer: 'https://IDP.example.com' }), /another issuer/],
  ['no issuer', document({ issuer: undefined }), /another issuer/],
  ['no token endpoint', document({ token_endpoint: undefined }), /no usable "token_endpoint"/],
  ['a token endpoint that is a path', document({ token_endpoint: '/token' }), /no usable "token_endpoint"/],
  ['a token endpoint that is a list', document({ token_endpoint: [TOKEN_ENDPOINT] }), /no usable "token_endpoint"/],
  ['a token endpoint of plain http', document({ token_endpoint: 'http://idp.example.com/token' }), /without https/],
  ['a token endpoint of another scheme', document({ token_endpoint: 'file:///etc/passwd' }), /without https/],
  ['HTML', '<!doctype html>', /invalid JSON/],
  ['null', 'null', /another issuer/],
  ['status 404', document(), /returned status 404/, 404],
  ['status 302', document(), /returned status 302/, 302],
];
for (const [what, text, message, status = 200] of unusable) {
  test(`refuses metadata: ${what}`, () => {
    assert.throws(() => read(text, { status }), failsWith('ERR_STS_METADATA_INVALID', message));
  });
}

const endpoints: [issuer: string, endpoint: string, problem: RegExp | undefined, allowInsecureHttp?: boolean][] = [
  ['https://idp.example.com', 'https://oauth2.example.com/token?p=1', undefined],
  ['https://idp.example.com', 'http://idp.example.com/token', /without https/],
  ['https://idp.example.com', 'http://idp.example.com/token', /without https/, true],
  ['https://idp.example.com', 'http://keycloak/token', /without https/],
  ['https://idp.example.com', 'http://keycloak.idp.svc/token', /without https/, true],
  ['https://idp.example.com', 'http://127.0.0.1:9901/quitquitquit?', /on loopback/],
  ['https://idp.example.com', 'https://[::1]/token', /on loopback/],
  ['http://keycloak.idp.svc', 'http://keycloak.idp.svc/token', undefined],
  ['http://keycloak.idp.svc', 'https://idp.example.com/token', undefined],
  ['http://keycloak.idp.svc', 'http://idp.example.com/token', /without https/],
  ['http://keycloak.idp.svc', 'http://idp.example.com/token', undefined, true],
  ['http://keycloak.idp.svc', 'http://127.0.0.1:9901/quitquitquit', /on loopback/, true],
  ['http://127.0.0.1:8080', 'http://127.0.0.1:8080/token', undefined],
  ['http://localhost:8080', 'http://[::1]:8081/token', undefined],
  ['https://localhost:8443', 'https://127.0.0.1:8443/token', undefined],
  ['https://localhost:8443', 'http://127.0.0.1:8443/token', /without https/, true],
];
for (const [issuer, endpoint, problem, allowInsecureHttp = false] of endpoints) {
  const what = problem === undefined ? 'accepts' : 'refuses';
  test(`${what} the endpoint ${endpoint} of ${issuer}${allowInsecureHttp ? ' with allow_insecure_http' : ''}`, () => {
    const server = serverOf({ issuer, allowInsecureHttp });
    const response = { status: 200, retryAfter: undefined, text: document({ issuer, token_endpoint: endpoint }) };
    if (problem === undefined) {
      assert.deepEqual(readMetadata(response, server, 'token_endpoint'), only(endpoint));
      return;
    }
    const refusal = failsWith('ERR_STS_METADATA_INVALID', problem);
    const own = () => readMetadata(response, server, 'token_endpoint');
    const aliases = { issuer, token_endpoint: `${issuer}/token`, mtls_endpoint_aliases: { token_endpoint: endpoint } };
    const withAliases = { ...response, text: document(aliases) };
    const alias = () => readMetadata(withAliases, { ...server, tls: TLS }, 'token_endpoint');
    const keys = { ...response, text: document({ issuer, jwks_uri: endpoint }) };
    const jwksUri = () => readJwksUri(keys, { name: 'issuer "x"', issuer, allowInsecureHttp });
    for (const read of [own, alias, jwksUri]) assert.throws(read, refusal);
    assert.throws(own, /set "token_endpoint"/);
    assert.throws(jwksUri, /issuer "x".*"jwks_uri".*set "jwks_uri"/);
  });
}

const TLS = { ca: undefined, certificate: '/cert', privateKey: '/key' };
const MTLS_ENDPOINT = 'https://mtls.idp.example.com/token';
const readWithCertificate = (mtls_endpoint_aliases: unknown) =>
  read(document({ mtls_endpoint_aliases }), { server: { tls: TLS } });

test('uses the mutual TLS endpoint with a client certificate', () => {
  assert.deepEqual(readWithCertificate({ token_endpoint: MTLS_ENDPOINT }), {
    endpoint: MTLS_ENDPOINT,
    claimed: [TOKEN_ENDPOINT, MTLS_ENDPOINT],
  });
  for (const aliases of [undefined, null, 'x', {}, { revocation_endpoint: MTLS_ENDPOINT }]) {
    assert.deepEqual(readWithCertificate(aliases), only(TOKEN_ENDPOINT));
  }
  for (const token_endpoint of [7, '/token', 'http://mtls.idp.example.com/token']) {
    assert.throws(
      () => readWithCertificate({ token_endpoint }),
      failsWith('ERR_STS_METADATA_INVALID', /"token_endpoint"/),
    );
  }
});

test('ignores the mutual TLS endpoint without a client certificate', () => {
  for (const token_endpoint of [MTLS_ENDPOINT, 7]) {
    assert.deepEqual(read(document({ mtls_endpoint_aliases: { token_endpoint } })), only(TOKEN_ENDPOINT));
  }
});

async function setUp(t: TestContext) {
  const fake = await startFakeAuthorizationServer(t);
  const agent = dispatcherOf(t);
  const find = (timeoutMs = 5000) =>
    discover(serverOf({ issuer: fake.issuer }), 'token_endpoint', agent, performance.now() + timeoutMs);
  return { fake, find };
}

const OAUTH = '/.well-known/oauth-authorization-server';

/** Sets a response for each of both URLs. */
function respondByUrl(fake: FakeAuthorizationServer, oauth: MetadataBehaviour, openid: MetadataBehaviour): void {
  fake.metadataBehaviour = (path) => (path === OAUTH ? oauth : openid);
}

const NOT_FOUND: MetadataBehaviour = { kind: 'response', status: 404 };
const DOCUMENT: MetadataBehaviour = { kind: 'document' };

const detours: [what: string, behaviour: MetadataBehaviour][] = [
  ['404', NOT_FOUND],
  ['HTML with 200 (LemonLDAP::NG)', { kind: 'response', status: 200, body: '<!doctype html><h1>Sign in</h1>' }],
  ['a broken connection', { kind: 'reset' }],
  ['a document of another issuer', { kind: 'document', fields: { issuer: 'https://other.example.com' } }],
];
for (const [what, behaviour] of detours) {
  test(`uses the second URL when the first returns ${what}`, async (t) => {
    const { fake, find } = await setUp(t);
    respondByUrl(fake, behaviour, DOCUMENT);
    assert.deepEqual(await find(), only(fake.tokenEndpoint));
    assert.deepEqual(fake.metadataRequests, [OAUTH, '/.well-known/openid-configuration']);
  });
}

test('reports a problem in a document rather than a missing document', async (t) => {
  const { fake, find } = await setUp(t);
  const foreign: MetadataBehaviour = { kind: 'document', fields: { issuer: 'https://other.example.com' } };
  for (const [oauth, openid] of [
    [foreign, NOT_FOUND],
    [NOT_FOUND, foreign],
  ] as const) {
    respondByUrl(fake, oauth, openid);
    await assert.rejects(find(), failsWith('ERR_STS_METADATA_INVALID', /another issuer/));
  }
});

test('fails when both URLs have no metadata', async (t) => {
  const { fake, find } = await setUp(t);
  fake.metadataBehaviour = NOT_FOUND;
  await assert.rejects(
    find(),
    failsWith(
      'ERR_STS_METADATA_INVALID',
      /"main": no metadata at http.*oauth-authorization-server \(404\), http.*openid-configuration \(404\): check "issuer"/,
    ),
  );
});

test('fails at the timeout, which covers both URLs', async (t) => {
  const { fake, find } = await setUp(t);
  fake.metadataBehaviour = { kind: 'hang' };
  await assert.rejects(
    find(100),
    failsWith(
      'ERR_STS_UNAVAILABLE',
      /its metadata at \S+ did not arrive within .*raise authorization_servers\.main\.timeout$/,
    ),
  );
});

const red = serverOf({ name: 'red', issuer: 'https://red.example.com/realms/a' });
const blue = serverOf({ name: 'blue', issuer: 'https://blue.example.com/realms/a' });
const green = serverOf({ name: 'green', issuer: undefined, tokenEndpoint: 'https://tokens.example.net/green/token' });
const redAgain = serverOf({ name: 'red-again', issuer: red.issuer, clientId: 'other' });

const OWN = 'https://red.example.com/realms/a/token';
/** On a host of neither issuer. */
const SHARED = 'https://tokens.example.net/blue/token';

function setUpClaims(...servers: AuthorizationServer[]) {
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
  const { claims } = setUpClaims(red, blue);
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
    const { claims, refuses } = setUpClaims();
    const message = new RegExp(`host of authorization server "${name}": .*set "token_endpoint"`);
    refuses(red, endpoint, message);
    assert.throws(() => claims.claim(red, [OWN, endpoint]), failsWith('ERR_STS_METADATA_INVALID', message));
  });
}

const spellings = [
  `${SHARED}?tenant=red`,
  `${SHARED}/`,
  'https://TOKENS.example.net:443//blue/token',
  'https://tokens.example.net/blue/%74oken',
  'https://tokens.example.net/Blue/TOKEN',
  'https://tokens.example.net/x/../blue/token',
];
for (const endpoint of spellings) {
  test(`refuses the discovered endpoint of another server: ${endpoint}`, () => {
    const { claims, refuses } = setUpClaims(red, blue);
    claims.claim(red, [OWN]);
    claims.claim(blue, [SHARED]);
    refuses(red, endpoint, /names the token endpoint of authorization server "blue": .*set "token_endpoint"/);
    assert.ok(claims.holds(red), 'the earlier endpoint stays in use');
    assert.ok(claims.holds(blue));
  });
}

test('leaves an endpoint to the first server that named it, until that server names another', () => {
  const { claims, refuses } = setUpClaims(red, blue);
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
  const { claims, refuses } = setUpClaims(red, third);
  refuses(red, endpoint, /host of authorization server "third"/);
  claims.claim(third, [endpoint]);
  assert.equal(claims.holds(third), true);
});

test('refuses an endpoint of another tenant on the same host, claimed or configured', () => {
  const tenant = serverOf({ name: 'tenant', issuer: 'https://red.example.com/realms/b' });
  const { claims, refuses } = setUpClaims(red, tenant);
  claims.claim(red, [OWN]);
  refuses(tenant, OWN, /token endpoint of authorization server "red"/);
  const configured = setUpClaims(red, { ...tenant, tokenEndpoint: `${OWN}?b` });
  configured.refuses(red, OWN, /token endpoint of authorization server "tenant"/);
});

test('lets servers with the same issuer share an endpoint', () => {
  const { claims } = setUpClaims();
  claims.claim(red, [OWN]);
  claims.claim(redAgain, [OWN]);
  assert.ok(claims.holds(red) && claims.holds(redAgain));
});

test('forgets the endpoint of a server that a reload removes or gives another issuer', () => {
  const { claims, reload } = setUpClaims(red, blue);
  claims.claim(blue, [SHARED]);
  reload(red);
  claims.claim(red, [SHARED]);
  const movedBlue = serverOf({ name: 'blue', issuer: 'https://new.example.com' });
  reload(red, movedBlue);
  assert.ok(claims.holds(red));
  claims.claim(movedBlue, ['https://new.example.com/token']);
  assert.ok(claims.holds(red) && claims.holds(movedBlue));
});
