import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientFinding, encodingFinding, encodingMatters } from '../../../src/doctor/client-refusal.ts';
import { response, server } from './samples.ts';

const CASES: [when: string, status: number, body: unknown, finding: string][] = [
  ['refused subject token', 400, { error: 'invalid_grant' }, 'client_accepted'],
  [
    'Keycloak with an invalid token',
    400,
    { error: 'invalid_request', error_description: 'Invalid token' },
    'client_accepted',
  ],
  ['Dex with an invalid token', 401, { error: 'access_denied' }, 'client_accepted'],
  ['refused target', 400, { error: 'invalid_target' }, 'client_accepted'],
  [
    'Keycloak with an unknown audience',
    400,
    { error: 'invalid_client', error_description: 'Audience not found' },
    'client_accepted',
  ],
  ['refused client', 401, { error: 'invalid_client' }, 'client_refused'],
  ['refused client, with status 400', 400, { error: 'invalid_client' }, 'client_refused'],
  ['Keycloak with a wrong secret', 401, { error: 'unauthorized_client' }, 'client_refused'],
  ['401 without a body', 401, '', 'client_refused'],
  ['client that may not exchange', 400, { error: 'unauthorized_client' }, 'exchange_disabled'],
  ['server without the grant', 400, { error: 'unsupported_grant_type' }, 'exchange_disabled'],
  ['Auth0 with a wrong secret', 401, { error: 'access_denied', error_description: 'Unauthorized' }, 'client_refused'],
  [
    'Entra with an unknown client',
    400,
    { error: 'unauthorized_client', error_description: "AADSTS700016: Application 'x' was not found" },
    'client_refused',
  ],
  [
    'older Keycloak with a client without permission',
    403,
    { error: 'access_denied', error_description: 'Client not allowed to exchange' },
    'exchange_disabled',
  ],
  ['web page instead of a token endpoint', 404, '<html>', 'server_unavailable'],
  ['firewall', 403, '<html>', 'server_unavailable'],
  ['server that accepts any token', 200, { access_token: 'x' }, 'any_subject_accepted'],
  ['broken server', 500, 'oops', 'server_unavailable'],
  ['rate-limited client', 429, '', 'server_unavailable'],
];
for (const [when, status, body, finding] of CASES) {
  test(`reports ${finding}: ${when}`, () => {
    assert.equal(clientFinding(server(), response(status, body)).code, finding);
  });
}

test('tries the other encoding only if it produces a different header', () => {
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;
  assert.equal(encodingMatters(basic('cambist:ordinary-secret_1.~')), false);
  assert.equal(encodingMatters(basic('cambist:a%2Fb')), true);
  assert.equal(encodingMatters(basic('cambist:a/b')), true);
  assert.match(
    encodingFinding(server(), 'raw').fix ?? '',
    /authorization_servers\.main\.client_auth\.basic_encoding: raw/,
  );
});
