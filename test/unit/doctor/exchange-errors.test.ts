import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import { exchangeErrorFinding } from '../../../src/doctor/exchange-errors.ts';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { oauthErrorOf } from '../../../src/doctor/oauth-error.ts';
import { sentIn } from '../../../src/doctor/recorded-request.ts';
import { tokenRefusal } from '../../../src/doctor/token-refusal.ts';
import { response, server } from './samples.ts';

const ENTRA = {
  issuer: 'https://login.microsoftonline.com/6f3b/v2.0',
  grant: 'jwt_bearer',
  extra_params: { requested_token_use: 'on_behalf_of' },
};

interface Case {
  when: string;
  server?: Record<string, unknown>;
  sent?: Record<string, string>;
  subject?: JWTPayload;
  secondLeg?: boolean;
  hasSucceeded?: boolean;
  status?: number;
  error: string;
  description?: string;
  finding: string;
  why?: RegExp;
  fix: RegExp;
}

/** Errors that no imitation in `test/integration/servers` sends, or whose cause is checked here. */
const CASES: Case[] = [
  {
    when: 'Keycloak: the aud of the subject token lacks the client',
    status: 403,
    error: 'access_denied',
    description: 'Client is not within the token audience',
    subject: { aud: 'account' },
    finding: 'subject_audience_lacks_client',
    why: /is for "account", but the server requires "cambist"/,
    fix: /Keycloak: an audience mapper/,
  },
  {
    when: 'access_denied, which may have another reason',
    status: 403,
    error: 'access_denied',
    description: 'user is not in group "dev"',
    subject: { aud: 'account' },
    finding: 'subject_audience_lacks_client',
    why: /is for "account": probably the server requires "cambist".*or it refuses this user/,
    fix: /audience mapper/,
  },
  {
    when: 'access_denied where others get a token',
    status: 403,
    error: 'access_denied',
    description: 'user is not in group "dev"',
    subject: { aud: 'account' },
    hasSucceeded: true,
    finding: 'caller_refused',
    why: /has succeeded for a caller/,
    fix: /groups, roles/,
  },
  {
    when: 'invalid_target where others get a token',
    sent: { resource: 'https://b.example.com/mcp', audience: 'b' },
    error: 'invalid_target',
    description: 'not for this user',
    hasSucceeded: true,
    finding: 'caller_refused',
    fix: /groups, roles/,
  },
  {
    when: 'Keycloak: the aud lacks the client in the token of this caller alone',
    status: 403,
    error: 'access_denied',
    description: 'Client is not within the token audience',
    subject: { aud: 'account' },
    hasSucceeded: true,
    finding: 'subject_audience_lacks_client',
    why: /but the server requires "cambist"/,
    fix: /Keycloak: an audience mapper/,
  },
  {
    when: 'Keycloak: the token has another host name of the same realm',
    subject: { iss: 'http://keycloak:8080/realms/agents', aud: 'cambist' },
    error: 'invalid_request',
    description: 'Invalid token',
    finding: 'subject_issuer_differs',
    why: /"http:\/\/keycloak:8080\/realms\/agents".*"https:\/\/idp\.example\.com\/realms\/agents"/,
    fix: /hostname/,
  },
  {
    when: 'authentik: a resource was sent; no description',
    sent: { resource: 'https://b.example.com/mcp', audience: 'b' },
    error: 'invalid_target',
    finding: 'resource_refused',
    fix: /resource: \[\]/,
  },
  {
    when: 'authentik: the audience is unknown',
    sent: { audience: 'b' },
    error: 'invalid_target',
    finding: 'target_refused',
    fix: /route's audience/,
  },
  {
    when: 'Entra: the scope is missing',
    server: ENTRA,
    error: 'invalid_request',
    description: "AADSTS900144: The request body must contain the following parameter: 'scope'.",
    finding: 'scope_format',
    fix: /\.default/,
  },
  {
    when: 'Entra: the scope is not an application id URI',
    server: ENTRA,
    sent: { scope: 'https://b.example.com/.default' },
    error: 'invalid_target',
    description: 'AADSTS500011: The resource principal named https://b.example.com was not found in the tenant.',
    finding: 'scope_format',
    fix: /\.default/,
  },
  {
    when: 'the client may not exchange',
    error: 'unauthorized_client',
    description: 'grant type not allowed for this client',
    finding: 'exchange_disabled',
    fix: /switch/,
  },
  {
    when: 'the secret is wrong',
    status: 401,
    error: 'invalid_client',
    finding: 'client_refused',
    fix: /compare client_id and secret/,
  },
  {
    when: 'the client may not request the scope',
    sent: { scope: 'repo:admin' },
    error: 'invalid_scope',
    finding: 'scope_refused',
    fix: /scope/,
  },
  {
    when: 'the subject token is expired or revoked',
    error: 'invalid_grant',
    subject: { aud: 'cambist' },
    finding: 'subject_token_refused',
    why: /"cambist" \(its "aud" is "cambist"\)/,
    fix: /new one/,
  },
  { when: 'unknown error', error: 'server_says_no', finding: 'request_refused', fix: /log/ },
];
for (const {
  when,
  sent,
  subject,
  secondLeg = false,
  hasSucceeded = false,
  status = 400,
  error,
  description,
  finding,
  why,
  fix,
  ...more
} of CASES) {
  test(`reports ${finding}: ${when}`, () => {
    const body = { error, ...(description !== undefined && { error_description: description }) };
    const request = response(status, body, { form: new URLSearchParams(sent) });
    const refusal = oauthErrorOf(request, []);
    assert.ok(refusal);
    const found = exchangeErrorFinding({
      server: server(more.server),
      request,
      refusal,
      subject,
      secondLeg,
      hasSucceeded,
      show: showShortAscii,
    });
    assert.deepEqual([found.severity, found.code], ['error', finding]);
    assert.match(found.fix ?? '', fix);
    if (why !== undefined) assert.match(found.why ?? '', why);
    assert.ok(found.what.includes(error), 'it shows the error of the server');
  });
}

test('redacts the subject token and anything like a token in a description', () => {
  const token = `eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.${'a'.repeat(30)}.${'b'.repeat(30)}`;
  const body = { error: 'invalid_grant', error_description: `token short-one or ${token} is bad\u001b[31m` };
  const request = response(400, body, { form: new URLSearchParams({ subject_token: 'short-one' }) });
  const refusal = oauthErrorOf(request, sentIn(request));
  assert.equal(refusal?.shown, '400 invalid_grant: token [redacted] or [redacted] is bad [31m');
});

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

const refusal = (words: string, aheadSeconds?: number) =>
  tokenRefusal({ words, token: TOKEN, show: showShortAscii, aheadSeconds });

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
  ['invalid_token Another algorithm expected, or no matching key(s) found', 'backend_refuses_token'],
  ['invalid_token Signed JWT rejected: Another algorithm expected', 'backend_refuses_algorithm'],
  [
    'invalid_token Authentication failed. The provided bearer token is invalid, expired, or no longer recognized by the server. To resolve: clear authentication tokens in your MCP client and reconnect.',
    'backend_refuses_token',
  ],
  ['invalid_token The access token is expired or revoked', 'backend_refuses_token'],
  ['insufficient_scope One of repo:read or repo:write is required', 'backend_refuses_scope'],
  ['invalid_token The aud claim is not valid', 'backend_refuses_audience'],
  ['invalid_token token is not for this resource', 'backend_refuses_audience'],
  ['Token was not issued for this server', 'backend_refuses_audience'],
  ['invalid_token The iss claim is not valid', 'backend_refuses_issuer'],
  ['invalid_token Failed to verify: signature mismatch', 'backend_refuses_key'],
  ['invalid_token Jwt expired at 2026-11-27T06:00:00Z', 'backend_refuses_lifetime'],
  ['invalid_token The access token expired', 'backend_refuses_lifetime'],
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
  assert.match(tokenRefusal({ words: '', token, show, aheadSeconds: undefined }).why ?? '', /kid "cc34c0a0…"/);
});

test('blames the clocks only if the backend gives no other reason', () => {
  const { code, why = '' } = refusal('', -60);
  assert.equal(code, 'backend_refuses_lifetime');
  assert.match(why, /the backend's clock is 60 s behind this machine's/);
  assert.equal(refusal('The aud claim is not valid', 60).code, 'backend_refuses_audience');
});
