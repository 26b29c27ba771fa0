import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ACTOR_TOKEN, json, run, SECRET } from './explained.ts';

const GRANTS = `
version: 1
spiffe: { socket: unix:///agent.sock }
authorization_servers:
  idp:
    issuer: https://login.example.com
    client_id: cambist
    client_auth: { method: client_secret_jwt, client_secret: { env: EXPLAIN_TEST_SECRET } }
  entra:
    issuer: https://entra.example.com
    client_id: cambist
    grant: jwt_bearer
    client_auth: { method: client_secret_post, client_secret: { env: EXPLAIN_TEST_SECRET } }
  workload:
    issuer: https://workload.example.com
    client_id: cambist
    dpop: true
    client_auth: { method: client_assertion, client_assertion: { file: actor-token } }
  certified:
    issuer: https://certified.example.com
    client_id: cambist
    client_auth: { method: tls_client_auth }
    tls: { certificate: { file: c }, private_key: { file: k } }
  spiffe:
    issuer: https://spiffe.example.com
    client_id: cambist
    client_auth: { method: client_assertion, from: { spiffe: true } }
  mutual:
    issuer: https://mutual.example.com
    client_id: cambist
    client_auth: { method: tls_client_auth, from: { spiffe: true } }
routes:
  - { name: chained, match: { path: /chained }, upstream: https://chained.example.com/mcp, authorization_server: certified,
      chain: { authorization_server: idp }, subject_token: { verify: { issuer: https://login.example.com, audience: [a, b] } } }
  - { name: behalf, match: { path: /behalf }, upstream: https://behalf.example.com, authorization_server: entra,
      scope: api://b/.default, expect_audience: api://b,
      subject_token: { verify: { issuer: https://i, audience: any, jwks_uri: https://i/keys } } }
  - { name: work, match: { path: /work }, upstream: https://work.example.com, authorization_server: workload,
      subject_token: { file: actor-token } }
  - { name: svid, match: { path: /svid }, upstream: https://svid.example.com, authorization_server: spiffe,
      subject_token: { from: spiffe, audience: sts } }
  - { name: actor, match: { path: /actor }, upstream: https://actor.example.com, authorization_server: mutual,
      actor_token: { from: spiffe, audience: sts } }
`;

async function explained(t: TestContext, path: string) {
  const { explanation } = await json(t, GRANTS, path);
  const { text } = await run(t, GRANTS, path);
  for (const secret of [SECRET, ACTOR_TOKEN]) assert.ok(!JSON.stringify([explanation, text]).includes(secret));
  return { explanation, text };
}

test('shows both requests of a chain, and the verification of the subject token', async (t) => {
  const { explanation, text } = await explained(t, '/chained');
  assert.deepEqual(explanation.assertion_request.form, [
    ['grant_type', 'urn:ietf:params:oauth:grant-type:token-exchange'],
    ['subject_token', '<token from the header "authorization">'],
    ['subject_token_type', 'urn:ietf:params:oauth:token-type:id_token'],
    ['resource', 'https://chained.example.com/mcp'],
    ['audience', 'https://certified.example.com'],
    ['requested_token_type', 'urn:ietf:params:oauth:token-type:id-jag'],
  ]);
  assert.match(explanation.assertion_request.client_authentication, /<JWT made now with the secret, HS256>/);
  assert.deepEqual(explanation.token_request.form, [
    ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
    ['assertion', '<assertion from the previous request>'],
    ['resource', 'https://chained.example.com/mcp'],
  ]);
  assert.match(explanation.token_request.endpoint, /mtls_endpoint_aliases if present$/);
  assert.match(explanation.token_request.client_authentication, /the client certificate of the connection$/);
  const check =
    'signed by https://login.example.com (keys from the jwks_uri of its metadata), aud one of a, b, exp and nbf';
  assert.equal(explanation.subject_token_check, check);
  assert.ok(text.includes(`  subject      ${check}`));
  assert.ok(text.indexOf('Assertion request') < text.indexOf('Token request'));
  assert.equal(explanation.issued_token_check, 'aud contains https://chained.example.com/mcp');
  assert.ok(text.includes(`Check of the issued token\n  ${explanation.issued_token_check}`));
});

test('shows a jwt_bearer request without a resource', async (t) => {
  const { explanation } = await explained(t, '/behalf');
  assert.deepEqual(explanation.token_request.form, [
    ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
    ['assertion', '<token from the header "authorization">'],
    ['scope', 'api://b/.default'],
  ]);
  assert.match(explanation.token_request.client_authentication, /client_secret=<secret> in the form/);
  assert.match(explanation.subject_token_check, /keys from https:\/\/i\/keys\), any aud/);
});

test('shows a subject token from a file, and the DPoP proof', async (t) => {
  const { explanation, text } = await explained(t, '/work');
  assert.equal(explanation.token_request.dpop, true);
  assert.deepEqual(explanation.token_request.form[1], ['subject_token', '<token from the file>']);
  assert.match(explanation.token_request.client_authentication, /<from the file>, of type urn:ietf/);
  assert.equal(explanation.cache_key.length, 2);
  assert.ok(text.includes('  DPoP: <proof made now>'));
});

test('shows which token or certificate is an SVID', async (t) => {
  const { token_request: work, cache_key } = (await explained(t, '/svid')).explanation;
  assert.deepEqual(work.form[1], ['subject_token', '<JWT-SVID>']);
  const shown = /client_assertion=<JWT-SVID for https:\/\/spiffe\.example\.com>, of type urn:ietf:.*:jwt-spiffe,/;
  assert.match(work.client_authentication, shown);
  assert.equal(cache_key[0], "cambist's own token, from the SPIFFE agent for sts");
  const { token_request: actor } = (await explained(t, '/actor')).explanation;
  assert.ok(JSON.stringify(actor.form).includes('["actor_token","<JWT-SVID>"]'));
  assert.equal(actor.client_authentication, 'client_id=cambist in the form, and the X.509-SVID of the connection');
  assert.match(actor.endpoint, /from its mtls_endpoint_aliases if present/);
});
