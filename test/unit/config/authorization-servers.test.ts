import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertionFrom, usedServers } from '../../../src/config/used-servers.ts';
import { configOf, problemsOf, ROUTE, routeOf, routeProblems } from './sample.ts';
import { clientAuth, serverOf, withServer } from './server-samples.ts';

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

test('keeps issuer and token endpoint exactly as written', () => {
  const { issuer, tokenEndpoint } = serverOf(
    'issuer: https://IDP.example.com:443/a/\ntoken_endpoint: https://IDP.example.com/t?x=1\nclient_auth: { method: none }\n',
  );
  assert.equal(issuer, 'https://IDP.example.com:443/a/');
  assert.equal(tokenEndpoint, 'https://IDP.example.com/t?x=1');
});

test('requires an endpoint, a client id and client authentication', () => {
  assert.deepEqual(problemsOf(withServer('client_auth: { method: none }\n')), [
    '4:5: authorization_servers.main: missing key "issuer" or "token_endpoint": set one, so that cambist finds the token endpoint',
  ]);
  assert.deepEqual(problemsOf(withServer('issuer: https://x\n')), [
    '4:5: authorization_servers.main: missing key "client_auth": add it (client authentication of cambist)',
  ]);
  assert.deepEqual(
    problemsOf(
      withServer('issuer: https://x\nclient_auth: { method: client_secret_post, client_secret: { env: S } }\n'),
    ),
    ['4:5: authorization_servers.main: missing key "client_id": method "client_secret_post" needs it'],
  );
});

test('keeps extra parameters in order and refuses parameters of the protocol', () => {
  assert.deepEqual(serverOf(`${BASE}extra_params: { connector_id: ldap, options: '{"a":1}' }\n`).extraParams, [
    ['connector_id', 'ldap'],
    ['options', '{"a":1}'],
  ]);
  for (const name of ['grant_type', 'client_secret', 'resource', 'scope', 'assertion', 'password']) {
    assert.deepEqual(problemsOf(withServer(`${BASE}extra_params: { ${name}: hunter2 }\n`)), [
      `6:21: authorization_servers.main.extra_params: "${name}" is reserved for the protocol: remove it, and use the config key for it`,
    ]);
  }
  assert.deepEqual(problemsOf(withServer(`${BASE}extra_params: { "": x }\n`)), [
    '6:21: authorization_servers.main.extra_params: must not be empty',
  ]);
  assert.deepEqual(problemsOf(withServer(`${BASE}extra_params: { flag: true }\n`)), [
    '6:27: authorization_servers.main.extra_params.flag: must be a string: put it in quotes',
  ]);
});

test('requires a certificate and its key together', () => {
  const { tls } = serverOf(`${BASE}tls: { ca: { file: /ca }, certificate: { file: /c }, private_key: { file: k } }\n`);
  assert.deepEqual(tls, { ca: '/ca', certificate: '/c', privateKey: 'k' });
  assert.deepEqual(serverOf(`${BASE}tls: {}\n`).tls, { ca: undefined, certificate: undefined, privateKey: undefined });
  for (const [one, other] of [
    ['certificate', 'private_key'],
    ['private_key', 'certificate'],
  ]) {
    assert.deepEqual(problemsOf(withServer(`${BASE}tls: { ${one}: { file: /x } }\n`)), [
      `6:10: authorization_servers.main.tls: has "${one}" without "${other}": set both, or remove it`,
    ]);
  }
});

test('warns about an issuer that is the URL of its metadata', () => {
  const metadata = 'https://idp.example.com/realms/agents/.well-known/openid-configuration';
  const [problem, ...others] = problemsOf(withServer(`issuer: ${metadata}\nclient_auth: { method: none }\n`));
  assert.match(problem ?? '', /issuer: is the URL of its metadata: remove "\/\.well-known\/" and/);
  assert.match(problem ?? '', /warning: /);
  assert.deepEqual(others, []);
});

test('refuses a timeout of 0 for token requests', () => {
  assert.deepEqual(problemsOf(withServer(`${BASE}timeout: 0\n`)), [
    '6:14: authorization_servers.main.timeout: must be at least 1ms',
  ]);
});

test('requires a route to name an existing server if there are several', () => {
  const two = `version: 1
authorization_servers:
  one: { issuer: "https://one", client_auth: { method: none } }
  two: { issuer: "https://two", client_auth: { method: none } }
${ROUTE}`;
  assert.deepEqual(problemsOf(two), [
    '6:5: routes[0]: missing key "authorization_server": there are several, so name one of one, two',
  ]);
  assert.deepEqual(problemsOf(`${two}    authorization_server: tow\n`), [
    '9:27: routes[0].authorization_server: unknown authorization server: did you mean "two"?',
  ]);
  assert.deepEqual(problemsOf(`${two}    authorization_server: keycloak\n`), [
    '9:27: routes[0].authorization_server: unknown authorization server: known servers are one, two',
  ]);
  assert.deepEqual(problemsOf(`version: 1\n${ROUTE}    authorization_server: one\n`), [
    '6:27: routes[0].authorization_server: unknown authorization server: define it under authorization_servers',
  ]);
  assert.deepEqual(problemsOf(`version: 1\n${ROUTE}`), [
    '3:5: routes[0]: credential "exchange" needs an authorization server: define one under authorization_servers, or set credential: none',
  ]);
  assert.deepEqual(problemsOf(`${two}defaults: { authorization_server: one }\n`), [
    '4:3: warning: authorization_servers.two: no route uses this authorization server: remove it, or name it in a route',
  ]);
});

test('takes the client certificate from the tls of the server', () => {
  const tls = 'tls: { certificate: { file: /c }, private_key: { file: /k } }\n';
  const server = serverOf(`${clientAuth('method: tls_client_auth\n')}${tls}`);
  assert.deepEqual(server.clientAuth, { method: 'tls_client_auth' });
  assert.equal(server.tls?.certificate, '/c');
  for (const lines of ['', 'tls: { ca: { file: /ca } }\n']) {
    assert.deepEqual(
      problemsOf(withServer(`${clientAuth('method: tls_client_auth\n')}${lines}`)).map((line) =>
        line.replace(/^[\d:]+ /, ''),
      ),
      [
        'authorization_servers.main: method "tls_client_auth" needs one certificate: set either certificate and private_key in tls, or client_auth.from to { spiffe: true }',
      ],
    );
  }
});

test('reads the grant and dpop', () => {
  const lines = 'issuer: https://x\nclient_auth: { method: none }\ngrant: jwt_bearer\ndpop: true\n';
  const [{ grant, dpop } = assert.fail()] = configOf(
    `${withServer(lines)}    resource: https://r\n`,
  ).authorizationServers;
  assert.deepEqual([grant, dpop], ['jwt_bearer', true]);
});

const VAULT = `authorization_servers:
  auth0:
    issuer: https://example.eu.auth0.com/
    client_id: cambist
    grant: token_vault
    client_auth: { method: none }
`;
const LINES = 'upstream: https://mcp.example.com/mcp\nconnection: github\n';

test('names the backend of a vault by its connection alone', () => {
  const { credential } = routeOf(LINES, VAULT);
  assert.ok(credential.kind === 'exchange');
  assert.deepEqual(credential.target, {
    resource: [],
    audience: [],
    scope: undefined,
    requestedTokenType: 'http://auth0.com/oauth/token-type/federated-connection-access-token',
    connection: 'github',
    expectAudience: 'any',
  });
});

test('requires a connection for a vault, and warns of keys that a vault does not get', () => {
  assert.match(routeProblems('upstream: https://mcp.example.com/mcp\n', VAULT).join(), /missing key "connection"/);
  for (const line of ['scope: read', 'audience: a', 'requested_token_type: jwt']) {
    assert.match(routeProblems(`${LINES}${line}\n`, VAULT).join(), /is not sent with grant "token_vault": remove it/);
  }
});

const servers = (from: string, more = '') => `version: 1
authorization_servers:
  agent:
    token_endpoint: https://login.example.com/token
    client_id: agent
    client_auth: { method: client_assertion, from: ${from} }
  blueprint:
    token_endpoint: https://login.example.com/token
    client_id: blueprint
    client_auth: ${more === '' ? '{ method: none }' : more}
routes:
  - name: github
    match: { path: / }
    upstream: https://mcp.example.com/mcp
    authorization_server: agent
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

test('refuses an unknown server, itself, and a server that has such an issuer as well', () => {
  const unknown = /from\.authorization_server: unknown authorization server: known servers are blueprint/;
  assert.match(problemsOf(servers('{ authorization_server: other }')).join(), unknown);
  const dependent = /from\.authorization_server: the named server has "from" itself: name one without it/;
  assert.match(problemsOf(servers('{ authorization_server: agent }')).join(), dependent);
  const circle = '{ method: client_assertion, from: { authorization_server: agent } }';
  assert.match(problemsOf(servers('{ authorization_server: blueprint }', circle)).join(), dependent);
});

test('refuses both a file and another server, and neither', () => {
  const both = servers('{ authorization_server: blueprint }, client_assertion: { file: /run/a }');
  assert.match(problemsOf(both).join(), /needs one of "client_assertion" and "from"/);
});
