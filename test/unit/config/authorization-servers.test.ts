import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertionFrom, usedServers } from '../../../src/config/used-servers.ts';
import { assertProblems, configOf, messagesOf, problemsOf, ROUTE, withServer } from './sample.ts';

function serverOf(lines: string) {
  const [server] = configOf(withServer(lines)).authorizationServers;
  return server ?? assert.fail('no server');
}

function clientAuth(lines: string): string {
  return `issuer: https://idp.example.com\nclient_id: cambist\nclient_auth:\n${lines.replaceAll(/^(?=.)/gm, '  ')}`;
}

const BASE = 'issuer: https://x\nclient_auth: { method: none }\n';

test('fills in the defaults of an authorization server', () => {
  assert.deepEqual(serverOf('token_endpoint: https://x/token\nclient_auth: { method: none }\n'), {
    name: 'main',
    issuer: undefined,
    tokenEndpoint: 'https://x/token',
    allowInsecureHttp: false,
    clientId: undefined,
    clientAuth: { method: 'none' },
    grant: 'token_exchange',
    extraParams: [],
    timeoutMs: 5000,
    tls: undefined,
    dpop: false,
  });
});

test('reads the keys of an authorization server as they are written', () => {
  const text = withServer(`issuer: https://IDP.example.com:443/a/
token_endpoint: https://IDP.example.com/t?x=1
client_auth: { method: none }
grant: jwt_bearer
extra_params: { connector_id: ldap, options: '{"a":1}' }
tls: { ca: { file: /ca }, certificate: { file: /c }, private_key: { file: k } }
dpop: true
`);
  const [server] = configOf(`${text}    resource: https://r\n`).authorizationServers;
  const { issuer, tokenEndpoint, grant, extraParams, tls, dpop } = server ?? assert.fail('no server');
  assert.deepEqual([issuer, tokenEndpoint], ['https://IDP.example.com:443/a/', 'https://IDP.example.com/t?x=1']);
  assert.deepEqual([grant, dpop], ['jwt_bearer', true]);
  assert.deepEqual(extraParams, [
    ['connector_id', 'ldap'],
    ['options', '{"a":1}'],
  ]);
  assert.deepEqual(tls, { ca: '/ca', certificate: '/c', privateKey: 'k' });
  assert.deepEqual(serverOf(`${BASE}tls: {}\n`).tls, { ca: undefined, certificate: undefined, privateKey: undefined });
});

test('refuses a server with missing or invalid keys, and parameters of the protocol', () => {
  const none = 'issuer: https://x\\nclient_auth: { method: none }';
  const table = `
client_auth: { method: none }
→ 4:5: main: missing key "issuer" or "token_endpoint": set one, so that cambist finds the token endpoint
issuer: https://x
→ 4:5: main: missing key "client_auth": add it (client authentication of cambist)
issuer: https://x\\nclient_auth: { method: client_secret_post, client_secret: { env: S } }
→ 4:5: main: missing key "client_id": method "client_secret_post" needs it
${none}\\nextra_params: { "": x }
→ 6:21: main.extra_params: must not be empty
${none}\\nextra_params: { flag: true }
→ 6:27: main.extra_params.flag: must be a string: put it in quotes
${none}\\ntls: { certificate: { file: /x } }
→ 6:10: main.tls: has "certificate" without "private_key": set both, or remove it
${none}\\ntls: { private_key: { file: /x } }
→ 6:10: main.tls: has "private_key" without "certificate": set both, or remove it
${none}\\ntimeout: 0
→ 6:14: main.timeout: must be at least 1ms
issuer: https://idp.example.com/realms/a/.well-known/openid-configuration\\nclient_auth: { method: none }
→ 4:13: warning: main.issuer: is the URL of its metadata: remove "/.well-known/" and everything after it`;
  const problemsOfServer = (lines: string) =>
    problemsOf(withServer(lines)).map((problem) => problem.replace('authorization_servers.', ''));
  assertProblems(table, problemsOfServer);
  for (const name of ['grant_type', 'client_secret', 'resource', 'scope', 'assertion', 'password']) {
    assert.deepEqual(problemsOfServer(`${BASE}extra_params: { ${name}: hunter2 }\n`), [
      `6:21: main.extra_params: "${name}" is reserved for the protocol: remove it, and use the config key for it`,
    ]);
  }
});

const UNKNOWN = 'routes[0].authorization_server: unknown authorization server';

test('requires a route to name an existing server if there are several', () => {
  const two = `version: 1
authorization_servers:
  one: { issuer: "https://one", client_auth: { method: none } }
  two: { issuer: "https://two", client_auth: { method: none } }
${ROUTE}`;
  for (const [text, problem] of [
    [two, '6:5: routes[0]: missing key "authorization_server": there are several, so name one of one, two'],
    [`${two}    authorization_server: tow\n`, `9:27: ${UNKNOWN}: did you mean "two"?`],
    [`${two}    authorization_server: keycloak\n`, `9:27: ${UNKNOWN}: known servers are one, two`],
    [`version: 1\n${ROUTE}    authorization_server: one\n`, `6:27: ${UNKNOWN}: define it under authorization_servers`],
    [
      `version: 1\n${ROUTE}`,
      '3:5: routes[0]: credential "exchange" needs an authorization server: define one under authorization_servers, or set credential: none',
    ],
    [
      `${two}defaults: { authorization_server: one }\n`,
      '4:3: warning: authorization_servers.two: no route uses this authorization server: remove it, or name it in a route',
    ],
  ] as const) {
    assert.deepEqual(problemsOf(text), [problem]);
  }
});

test('takes the client certificate from the tls of the server', () => {
  const tls = 'tls: { certificate: { file: /c }, private_key: { file: /k } }\n';
  const server = serverOf(`${clientAuth('method: tls_client_auth\n')}${tls}`);
  assert.deepEqual(server.clientAuth, { method: 'tls_client_auth' });
  assert.equal(server.tls?.certificate, '/c');
  for (const lines of ['', 'tls: { ca: { file: /ca } }\n']) {
    assert.deepEqual(messagesOf(withServer(`${clientAuth('method: tls_client_auth\n')}${lines}`)), [
      'authorization_servers.main: method "tls_client_auth" needs one certificate: set either certificate and private_key in tls, or client_auth.from to { spiffe: true }',
    ]);
  }
});

const servers = (from: string, auth = '{ method: none }') => `version: 1
authorization_servers:
  agent:
    token_endpoint: https://login.example.com/token
    client_id: agent
    client_auth: { method: client_assertion, from: ${from} }
  blueprint:
    token_endpoint: https://login.example.com/token
    client_id: blueprint
    client_auth: ${auth}
${ROUTE}    authorization_server: agent
`;

test('reads the server that issues a client assertion, which may follow in the file', () => {
  const config = configOf(servers('{ authorization_server: blueprint }'));
  const [agent] = config.authorizationServers;
  const from = agent && assertionFrom(agent);
  assert.deepEqual([from?.authorizationServer.name, from?.scope], ['blueprint', 'api://AzureADTokenExchange/.default']);
  assert.deepEqual(
    config.routes.map(({ credential }) => usedServers(credential).map(({ name }) => name)),
    [['blueprint', 'agent']],
  );
  assert.deepEqual(problemsOf(servers('{ authorization_server: blueprint, scope: x }')), []);
});

test('refuses a client assertion of an unknown server, itself, a server with such an issuer, or a file as well', () => {
  const unknown = /from\.authorization_server: unknown authorization server: known servers are blueprint/;
  const dependent = /from\.authorization_server: the named server has "from" itself: name one without it/;
  const circle = '{ method: client_assertion, from: { authorization_server: agent } }';
  for (const [text, problem] of [
    [servers('{ authorization_server: other }'), unknown],
    [servers('{ authorization_server: agent }'), dependent],
    [servers('{ authorization_server: blueprint }', circle), dependent],
    [
      servers('{ authorization_server: blueprint }, client_assertion: { file: /run/a }'),
      /needs one of "client_assertion" and "from"/,
    ],
  ] as const) {
    assert.match(problemsOf(text).join(), problem);
  }
});

const SECRET = 'client_secret: { env: S }\n';
const KEY = 'private_key: { file: /k }\n';
const FILE = 'client_assertion: { file: /a }\n';

/** The result for a method if the file has nothing but the named keys. */
const PLAIN_ASSERTION = { assertionAudience: undefined, assertionLifetimeMs: 60_000 };
const PLAIN_KEY = {
  ...PLAIN_ASSERTION,
  privateKey: { file: '/k' },
  alg: undefined,
  keyId: undefined,
  certificate: undefined,
};
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

test('reads each method of client authentication', () => {
  const secret = { clientSecret: { env: 'S' } };
  const file = { clientAssertion: { file: '/a' }, from: undefined };
  const own = { alg: 'PS256', keyId: 'one', assertionAudience: 'https://a', assertionLifetimeMs: 600_000 };
  for (const [method, lines, expected] of [
    ['client_secret_basic', SECRET, { ...secret, basicEncoding: 'form' }],
    ['client_secret_basic', `basic_encoding: raw\n${SECRET}`, { ...secret, basicEncoding: 'raw' }],
    ['client_secret_post', 'client_secret: { file: /s }\n', { clientSecret: { file: '/s' } }],
    ['private_key_jwt', KEY, PLAIN_KEY],
    [
      'private_key_jwt',
      `${KEY}alg: PS256\nkey_id: one\nassertion_audience: https://a\nassertion_lifetime: 10m\n`,
      { ...PLAIN_KEY, ...own },
    ],
    ['private_key_jwt', `${KEY}certificate: { file: /c.pem }\n`, { ...PLAIN_KEY, certificate: { file: '/c.pem' } }],
    ['client_secret_jwt', SECRET, { ...secret, alg: 'HS256', ...PLAIN_ASSERTION }],
    ['client_secret_jwt', `${SECRET}alg: HS512\n`, { ...secret, alg: 'HS512', ...PLAIN_ASSERTION }],
    ['client_assertion', FILE, { ...file, clientAssertionType: ASSERTION_TYPE }],
    ['client_assertion', `${FILE}client_assertion_type: urn:x:y\n`, { ...file, clientAssertionType: 'urn:x:y' }],
  ] as const) {
    assert.deepEqual(serverOf(clientAuth(`method: ${method}\n${lines}`)).clientAuth, { method, ...expected });
  }
});

test('refuses a method without its keys, with keys of another method, or with invalid values', () => {
  const table = `
client_secret_basic
→ 7:7: client_auth: missing key "client_secret": method "client_secret_basic" needs it
private_key_jwt
→ 7:7: client_auth: missing key "private_key": method "private_key_jwt" needs it
none\\nalg: ES256
→ 8:7: client_auth.alg: has no meaning for method "none", only for client_secret_jwt, private_key_jwt: remove it, or change the method
client_secret_post\\nclient_secret: { env: S }\\nbasic_encoding: raw
→ 9:7: client_auth.basic_encoding: has no meaning for method "client_secret_post", only for client_secret_basic: remove it, or change the method
private_key_jwt\\nprivate_key: { file: /k }\\nalg: HS256\\nassertion_lifetime: 11m
→ 9:12: client_auth.alg: must be an algorithm for a private key: one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519
→ 10:27: client_auth.assertion_lifetime: must be at most 10m
private_key_jwt\\nprivate_key: { file: /k }\\nassertion_lifetime: 0
→ 9:27: client_auth.assertion_lifetime: must be at least 1s
client_secret_post\\nclient_secret: { env: S, file: /s }
→ 8:22: client_auth.client_secret: has both "file" and "env": remove one
client_secret_post\\nclient_secret: {}
→ 8:22: client_auth.client_secret: has neither "file" nor "env": write { file: /path/to/it } or { env: NAME_OF_VARIABLE }
client_secret_post\\nclient_secret: { env: not-a-name }
→ 8:29: client_auth.client_secret.env: must be the bare name of an environment variable, without "$" or braces, and never the secret itself
client_secret_post\\nclient_secret: hunter2
→ 8:22: client_auth.client_secret: must not be in the config itself: write { file: /path/to/it } or { env: NAME_OF_VARIABLE }
client_secret_jwt\\nclient_secret: { env: S }\\nalg: ES256
→ 9:12: client_auth.alg: must be an algorithm for a shared secret: one of HS256, HS384, HS512
client_assertion\\nclient_assertion: { file: /a }\\nclient_assertion_type: spiffe
→ 9:30: client_auth.client_assertion_type: must be a full URN, as in urn:ietf:params:oauth:client-assertion-type:jwt-bearer
client_assertion\\nclient_assertion: { file: /a }\\nassertion_audience: https://a
→ 9:7: client_auth.assertion_audience: has no meaning without from: { spiffe: true }: remove it, because the audience is in the assertion
client_assertion\\nfrom: { spiffe: true }
→ 8:23: client_auth.from.spiffe: needs an SVID of cambist: set spiffe.socket
client_assertion\\nfrom: {}
→ 8:13: client_auth.from: needs either "authorization_server" or "spiffe": set one of them
client_assertion
→ 7:7: client_auth: method "client_assertion" needs one of "client_assertion" and "from": set one of them`;
  assertProblems(table, (lines) =>
    problemsOf(withServer(clientAuth(`method: ${lines}`))).map((problem) =>
      problem.replace('authorization_servers.main.', ''),
    ),
  );
});

test('takes an SVID of cambist as client assertion, or as client certificate', () => {
  const text = (lines: string, more = '') =>
    `spiffe: { socket: unix:///agent.sock }\n${withServer(clientAuth(lines) + more)}`;
  const main = (lines: string, more?: string) =>
    configOf(text(lines, more)).authorizationServers[0] ?? assert.fail('no server');
  const svid = 'method: client_assertion\nfrom: { spiffe: true }\n';
  const clientAssertion = { spiffe: 'unix:///agent.sock', audience: 'https://idp.example.com' };
  assert.deepEqual(main(svid).clientAuth, {
    method: 'client_assertion',
    clientAssertion,
    from: undefined,
    clientAssertionType: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
  });
  const bearer = main(`${svid}client_assertion_type: ${ASSERTION_TYPE}\nassertion_audience: other\n`);
  assert.deepEqual(bearer.clientAuth, {
    method: 'client_assertion',
    clientAssertion: { ...clientAssertion, audience: 'other' },
    from: undefined,
    clientAssertionType: ASSERTION_TYPE,
  });
  const mutual = 'method: tls_client_auth\nfrom: { spiffe: true }\n';
  const { clientAuth: auth, tls } = main(mutual, 'tls: { ca: { file: /ca } }\n');
  assert.deepEqual(auth, { method: 'tls_client_auth' });
  assert.deepEqual(tls, { ca: '/ca', certificate: undefined, privateKey: undefined, spiffe: true });
  const files = 'tls: { certificate: { file: /c }, private_key: { file: /k } }\n';
  assert.match(problemsOf(text(mutual, files)).join(), /needs one certificate/);
  const both = mutual.replace('true', 'true, authorization_server: main');
  assert.match(problemsOf(text(both)).join(), /needs either "authorization_server" or "spiffe"/);
});
