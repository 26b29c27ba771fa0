import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import { exchangeRefusal } from '../../../src/doctor/exchange-errors.ts';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { oauthErrorOf, quoting } from '../../../src/doctor/oauth-error.ts';
import { tokenRefusal } from '../../../src/doctor/token-refusal.ts';
import { response, server } from './samples.ts';

const ENTRA = {
  issuer: 'https://login.microsoftonline.com/6f3b/v2.0',
  grant: 'jwt_bearer',
  extra_params: { requested_token_use: 'on_behalf_of' },
};

/** The request to the server, and its response. */
interface Refused {
  readonly error: string;
  readonly description?: string;
  /** More of the response. */
  readonly body?: Record<string, unknown>;
  readonly status?: number;
  readonly server?: Record<string, unknown>;
  readonly sent?: Record<string, string>;
  readonly subject?: JWTPayload;
  readonly hasSucceeded?: boolean;
}

const DENIED: Refused = { error: 'access_denied', status: 403, subject: { aud: 'account' } };
const LACKS_CLIENT = { ...DENIED, description: 'Client is not within the token audience' };
const LACKS_CLIENT_ALONE = { ...LACKS_CLIENT, hasSucceeded: true };
const NEEDS_MAPPER = /is for "account", but the server requires "cambist".*Keycloak: an audience mapper/;
const NOT_IN_GROUP = { ...DENIED, description: 'user is not in group "dev"' };
const NOT_IN_GROUP_ALONE = { ...NOT_IN_GROUP, hasSucceeded: true };
const BOTH = { resource: 'https://b.example.com/mcp', audience: 'b' };
const NOT_FOR_USER = { error: 'invalid_target', description: 'not for this user', sent: BOTH, hasSucceeded: true };
const DIFFERENT_HOST = { iss: 'http://keycloak:8080/realms/agents', aud: 'cambist' };
const OF_ANOTHER_HOST = { error: 'invalid_request', description: 'Invalid token', subject: DIFFERENT_HOST };
const AADSTS900144 = "AADSTS900144: The request body must contain the following parameter: 'scope'.";
const NO_SCOPE = { error: 'invalid_request', description: AADSTS900144, server: ENTRA };
const AADSTS500011 = 'AADSTS500011: The resource principal named https://b.example.com was not found in the tenant.';
const URL_SCOPE = { scope: 'https://b.example.com/.default' };
const NO_APPLICATION = { error: 'invalid_target', description: AADSTS500011, server: ENTRA, sent: URL_SCOPE };
const BY_CREDENTIALS = { sent: { grant_type: 'client_credentials' } };
const NO_ACCOUNT = { status: 401, description: 'Client not enabled to retrieve service account', ...BY_CREDENTIALS };
const NEEDS_GRANT = /allow the client this grant at the server \(Keycloak: switch its service account on\)/;
const UNKNOWN_AUDIENCE = { error: 'invalid_target', sent: { audience: 'b' } };
const OLD = { error: 'invalid_grant', subject: { aud: 'cambist' } };

/** Errors that no imitation in `test/integration/servers` sends, or whose cause is checked here. */
const CASES: readonly (readonly [when: string, given: Refused, finding: string, says: RegExp])[] = [
  ['Keycloak: the aud of the token lacks the client', LACKS_CLIENT, 'subject_audience_lacks_client', NEEDS_MAPPER],
  ['Keycloak: the same for this caller alone', LACKS_CLIENT_ALONE, 'subject_audience_lacks_client', NEEDS_MAPPER],
  [
    'access_denied, which may have another reason',
    NOT_IN_GROUP,
    'subject_audience_lacks_client',
    /is for "account": probably the server requires "cambist".*or it refuses this user.*audience mapper/,
  ],
  ['access_denied where others get a token', NOT_IN_GROUP_ALONE, 'caller_refused', /has succeeded .*groups, roles/],
  ['invalid_target where others get a token', NOT_FOR_USER, 'caller_refused', /groups, roles/],
  [
    'Keycloak: the token has another host name of the same realm',
    OF_ANOTHER_HOST,
    'subject_issuer_differs',
    /"http:\/\/keycloak:8080\/realms\/agents".*"https:\/\/idp\.example\.com\/realms\/agents".*hostname/,
  ],
  ['authentik: a resource was sent', { error: 'invalid_target', sent: BOTH }, 'resource_refused', /resource: \[\]/],
  ['authentik: the audience is unknown', UNKNOWN_AUDIENCE, 'target_refused', /route's audience/],
  ['Entra: the scope is missing', NO_SCOPE, 'scope_format', /\.default/],
  ['Entra: the scope is not an application id URI', NO_APPLICATION, 'scope_format', /\.default/],
  ['no such grant', { error: 'unsupported_grant_type', ...BY_CREDENTIALS }, 'exchange_disabled', NEEDS_GRANT],
  ['no service account', { error: 'unauthorized_client', ...NO_ACCOUNT }, 'exchange_disabled', NEEDS_GRANT],
  ['the client may not exchange', { error: 'unauthorized_client' }, 'exchange_disabled', /switch/],
  ['the secret is wrong', { error: 'invalid_client', status: 401 }, 'client_refused', /compare client_id and secret/],
  ['the scope is refused', { error: 'invalid_scope', sent: { scope: 'repo:admin' } }, 'scope_refused', /scope/],
  [
    'the subject token is expired or revoked',
    OLD,
    'subject_token_refused',
    /is for "cambist"; it may be expired or revoked.*new one/,
  ],
  ['unknown error', { error: 'server_says_no' }, 'request_refused', /log/],
];
/** The finding on a refused request. */
function findingOn({ error, description, status = 400, sent, subject, hasSucceeded = false, ...given }: Refused) {
  const body = { error, ...(description !== undefined && { error_description: description }), ...given.body };
  const request = response(status, body, { form: new URLSearchParams(sent) });
  const refusal = oauthErrorOf(request, []) ?? assert.fail();
  const told = { secondLeg: false, hasSucceeded, show: showShortAscii };
  return quoting(exchangeRefusal({ server: server(given.server), request, refusal, subject, ...told }), refusal);
}

for (const [when, given, finding, says] of CASES) {
  test(`reports ${finding}: ${when}`, () => {
    const found = findingOn(given);
    assert.deepEqual([found.severity, found.code], ['error', finding]);
    assert.match(`${found.why} ${found.fix}`, says);
    assert.ok(found.what.includes(given.error), 'it shows the error of the server');
  });
}

test('redacts the subject token and anything like a token in a description', () => {
  const token = `eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.${'a'.repeat(30)}.${'b'.repeat(30)}`;
  const body = { error: 'invalid_grant', error_description: `token short-one or ${token} is bad\u001b[31m` };
  const sent = [{ name: 'subject_token', value: 'short-one', isCredential: true }];
  const refusal = oauthErrorOf(response(400, body), sent);
  assert.equal(refusal?.shown, '400 invalid_grant: token [redacted] or [redacted] is bad [31m');
});

const NAMING: Readonly<Record<string, Refused>> = {
  'its description': { error: 'access_denied', description: 'no {subject_token} or {client_secret} here' },
  'the page of a consent': {
    error: 'interaction_required',
    body: { interaction_uri: 'https://{subject_token}.example.com/' },
  },
};
for (const [where, given] of Object.entries(NAMING)) {
  test(`fills in no credential of the request where the server names its field in ${where}`, () => {
    const sent = { subject_token: 'token-of-alice', client_secret: 'hunter' };
    const found = JSON.stringify(findingOn({ ...given, status: 403, sent, hasSucceeded: true }));
    assert.match(found, /\{subject_token\}/);
    assert.doesNotMatch(found, /token-of-alice|hunter/);
  });
}

test('does not mistake long protocol words for tokens', () => {
  const body = { error: 'invalid_request', error_description: 'requested_token_type and subject_token_type' };
  assert.match(oauthErrorOf(response(400, body), [])?.shown ?? '', /requested_token_type and subject_token_type/);
});

test('shows the status of a response without an OAuth error', () => {
  assert.equal(oauthErrorOf(response(404, '<html>'), [])?.shown, '404, without an OAuth error');
  assert.equal(oauthErrorOf(response(503, '{}'), []), undefined);
  assert.equal(oauthErrorOf(response(200, '{}'), []), undefined);
});

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const TOKEN = [
  part({ alg: 'ES256', kid: 'k1', typ: 'at+jwt' }),
  part({ iss: 'https://idp.example.com', aud: ['a', 'b'] }),
  'x',
].join('.');

const refusal = (words: string) => tokenRefusal(words, TOKEN, showShortAscii);

/** The words of real servers and libraries. */
const WORDS: [says: string, finding: string][] = [
  [
    'insufficient_scope The request requires higher privileges than provided by the access token.',
    'backend_refuses_scope',
  ],
  ['insufficient_user_authentication A different authentication level is required', 'backend_wants_sign_in'],
  [
    'invalid_token An error occurred while attempting to decode the Jwt: JOSE header typ (type) at+jwt not allowed',
    'backend_refuses_type',
  ],
  ['invalid_token Signed JWT rejected: Another algorithm expected', 'backend_refuses_algorithm'],
  ['invalid_token The access token is expired or revoked', 'backend_refuses_token'],
  ['insufficient_scope One of repo:read or repo:write is required', 'backend_refuses_scope'],
  ['invalid_token The aud claim is not valid', 'backend_refuses_audience'],
  ['invalid_token token is not for this resource', 'backend_refuses_audience'],
  ['Token was not issued for this server', 'backend_refuses_audience'],
  ['invalid_token The iss claim is not valid', 'backend_refuses_issuer'],
  ['invalid_token Failed to verify: signature mismatch', 'backend_refuses_key'],
  ['invalid_token Jwt expired at 2026-11-27T06:00:00Z', 'backend_refuses_lifetime'],
  ['invalid_token "nbf" claim timestamp check failed', 'backend_refuses_lifetime'],
  ['invalid_token https://example.com/audience/issuer/expired', 'backend_refuses_token'],
  ['', 'backend_refuses_token'],
];
for (const [says, finding] of WORDS) {
  test(`reports ${finding} if the backend says "${says}"`, () => assert.equal(refusal(says).code, finding));
}

test('names issuer, audience, scope, algorithm, key and type of the token', () => {
  assert.equal(
    refusal('').why,
    'the token has iss "https://idp.example.com", aud ["a", "b"], scope (none), alg "ES256", kid "k1", typ "at+jwt"',
  );
});

test('shows the beginning of a key id that looks like a token', () => {
  const show = (value: unknown) => (String(value).length > 20 ? '[redacted]' : String(value));
  const kid = 'cc34c0a0-bd5a-4a3c-a50d-a2a7db7643df';
  const token = [part({ alg: 'ES256', kid }), part({}), 'x'].join('.');
  assert.match(tokenRefusal('', token, show).why ?? '', /kid "cc34c0a0…"/);
});
