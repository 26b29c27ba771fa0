import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockFinding, skewOf } from '../../../src/doctor/check-server.ts';
import { unusableMetadata } from '../../../src/doctor/metadata-findings.ts';
import { NOW_MS, response } from './samples.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const FIRST = 'https://idp.example.com/.well-known/oauth-authorization-server/realms/agents';
const SECOND = `${ISSUER}/.well-known/openid-configuration`;
const at = (url: string, status: number, body: unknown) => response(status, body, { method: 'GET', url });
const DOCUMENT = { issuer: ISSUER, token_endpoint: `${ISSUER}/token` };
const LOOKUP = {
  issuer: ISSUER,
  path: 'authorization_servers.main',
  endpoint: 'token_endpoint',
} as const;

const unusable = (...requests: ReturnType<typeof at>[]) => unusableMetadata(LOOKUP, requests, 'no usable metadata');

test("repeats the program's own message if no place has usable metadata", () => {
  const cases: [first: [status: number, body: unknown], code: string][] = [
    [[404, ''], 'metadata_not_found'],
    [[503, ''], 'server_unavailable'],
    [[200, '<html>'], 'metadata_unusable'],
    [[200, { issuer: ISSUER }], 'metadata_unusable'],
  ];
  for (const [[status, body], code] of cases) {
    const finding = unusable(at(FIRST, status, body), at(SECOND, 403, ''));
    assert.deepEqual([finding.code, finding.what], [code, 'no usable metadata']);
  }
  assert.match(unusable(at(FIRST, 404, '')).fix ?? '', /set authorization_servers\.main\.token_endpoint to skip/);
});

test('shows both issuers if they differ', () => {
  const other = { ...DOCUMENT, issuer: 'http://keycloak:8080/realms/agents' };
  const finding = unusable(at(FIRST, 200, other));
  assert.equal(finding.code, 'issuer_mismatch');
  assert.ok(finding.what.includes(`"${other.issuer}"`) && finding.what.includes(`"${ISSUER}"`));
  assert.match(finding.fix ?? '', /set authorization_servers\.main\.issuer to "http:\/\/keycloak:8080/);
});

test('names a trailing slash as the difference', () => {
  const finding = unusable(at(FIRST, 200, { ...DOCUMENT, issuer: `${ISSUER}/` }));
  assert.match(finding.why ?? '', /trailing slash/);
});

test('escapes control characters in an issuer', () => {
  assert.ok(unusable(at(FIRST, 200, { issuer: '\u001b[2Jx' })).what.includes('"?[2Jx"'));
});

test('fixes of a lookup for keys name the settings of subject_token.verify', () => {
  const lookup = { issuer: ISSUER, path: 'subject_token.verify', endpoint: 'jwks_uri' } as const;
  const on = (body: unknown) => unusableMetadata(lookup, [at(FIRST, 200, body)], 'its metadata names no "jwks_uri"');
  const missing = on(DOCUMENT);
  assert.equal(missing.code, 'metadata_unusable');
  assert.match(`${missing.what} ${missing.fix}`, /names no "jwks_uri" .*set subject_token\.verify\.jwks_uri to skip/);
  const other = on({ ...DOCUMENT, issuer: `${ISSUER}/` });
  assert.equal(other.code, 'issuer_mismatch');
  assert.match(other.fix ?? '', /set subject_token\.verify\.issuer to ".*\/agents\/"/);
});

const SENT = { sentAtMs: NOW_MS + 400, respondedAtMs: NOW_MS + 900 };
const dated = (offsetMs: number) => new Date(NOW_MS + offsetMs).toUTCString();

test('tolerates the second in which the response may have been written', () => {
  assert.equal(skewOf({ ...SENT, date: dated(0) }), 0);
  assert.equal(skewOf({ ...SENT, date: dated(-7000) }), -6401);
  assert.equal(skewOf({ ...SENT, date: dated(7000) }), 6100);
});

test('a slow response hides no more than its time in transit', () => {
  assert.equal(skewOf({ sentAtMs: NOW_MS, respondedAtMs: NOW_MS + 4000, date: dated(3000) }), 0);
});

test('the clock is unknown without a valid Date header', () => {
  assert.equal(skewOf({ ...SENT, date: undefined }), undefined);
  assert.equal(skewOf({ ...SENT, date: 'yesterday' }), undefined);
});

test('reports a difference of more than five seconds', () => {
  assert.equal(clockFinding(5000).code, 'clock_agrees');
  const { severity, code, what } = clockFinding(5001);
  assert.deepEqual([severity, code], ['error', 'clock_skew']);
  assert.match(what, /5 s ahead/);
  assert.match(clockFinding(-60_000).what, /60 s behind/);
});
