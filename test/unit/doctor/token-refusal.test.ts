import assert from 'node:assert/strict';
import { test } from 'node:test';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { tokenRefusal } from '../../../src/doctor/token-refusal.ts';

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
