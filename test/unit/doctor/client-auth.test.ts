import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientFinding, encodingFinding, encodingMatters } from '../../../src/doctor/client-auth.ts';
import { answer, server } from './samples.ts';

const CASES: [when: string, status: number, body: unknown, finding: string][] = [
  ['a refused subject token', 400, { error: 'invalid_grant' }, 'client_accepted'],
  ['Keycloak on a bad token', 400, { error: 'invalid_request', error_description: 'Invalid token' }, 'client_accepted'],
  ['Dex on a bad token', 401, { error: 'access_denied' }, 'client_accepted'],
  ['a refused target', 400, { error: 'invalid_target' }, 'client_accepted'],
  [
    'an audience that Keycloak does not know',
    400,
    { error: 'invalid_client', error_description: 'Audience not found' },
    'client_accepted',
  ],
  ['a refused client', 401, { error: 'invalid_client' }, 'client_refused'],
  ['a refused client, as a 400', 400, { error: 'invalid_client' }, 'client_refused'],
  ['Keycloak on a wrong secret', 401, { error: 'unauthorized_client' }, 'client_refused'],
  ['a bare 401', 401, '', 'client_refused'],
  ['a client that may not exchange', 400, { error: 'unauthorized_client' }, 'exchange_disabled'],
  ['a server without the grant', 400, { error: 'unsupported_grant_type' }, 'exchange_disabled'],
  ['Auth0 on a wrong secret', 401, { error: 'access_denied', error_description: 'Unauthorized' }, 'client_refused'],
  [
    'Entra on a client that it does not know',
    400,
    { error: 'unauthorized_client', error_description: "AADSTS700016: Application 'x' was not found" },
    'client_refused',
  ],
  [
    'an older Keycloak on a client without permission',
    403,
    { error: 'access_denied', error_description: 'Client not allowed to exchange' },
    'exchange_disabled',
  ],
  ['a page that is no token endpoint', 404, '<html>', 'server_unavailable'],
  ['a firewall', 403, '<html>', 'server_unavailable'],
  ['a server that takes anything', 200, { access_token: 'x' }, 'any_subject_accepted'],
  ['a broken server', 500, 'oops', 'server_unavailable'],
  ['a server that has had enough', 429, '', 'server_unavailable'],
];
for (const [when, status, body, finding] of CASES) {
  test(`${when}: ${finding}`, () => {
    assert.equal(clientFinding(server(), answer(status, body)).code, finding);
  });
}

test('the other encoding is worth a try only where it would send something else', () => {
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;
  assert.equal(encodingMatters(basic('cambist:ordinary-secret_1.~')), false);
  assert.equal(encodingMatters(basic('cambist:a%2Fb')), true);
  assert.equal(encodingMatters(basic('cambist:a/b')), true);
  assert.match(
    encodingFinding(server(), 'raw').fix ?? '',
    /authorization_servers\.main\.client_auth\.basic_encoding: raw/,
  );
});
