import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertionFrom, usedServerNames } from '../../../src/config/used-servers.ts';
import { configOf, problemsOf, routeOf, routeProblems } from './sample.ts';

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
    config.routes.map(({ credential }) => usedServerNames(credential)),
    [['blueprint', 'agent']],
  );
  assert.deepEqual(problemsOf(servers('{ authorization_server: blueprint, scope: x }')), []);
});

test('refuses an unknown server, itself, and a server that has such an issuer as well', () => {
  const wrong = /must name another authorization server whose own client_auth has no "from"/;
  assert.match(problemsOf(servers('{ authorization_server: other }')).join(), wrong);
  assert.match(problemsOf(servers('{ authorization_server: agent }')).join(), wrong);
  const circle = '{ method: client_assertion, from: { authorization_server: agent } }';
  assert.match(problemsOf(servers('{ authorization_server: blueprint }', circle)).join(), wrong);
});

test('refuses both a file and another server, and neither', () => {
  const both = servers('{ authorization_server: blueprint }, client_assertion: { file: /run/a }');
  assert.match(problemsOf(both).join(), /needs one of "client_assertion" and "from"/);
});
