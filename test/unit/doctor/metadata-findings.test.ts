import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { clockFinding, skewOf } from '../../../src/doctor/clocks.ts';
import { readKeySet } from '../../../src/doctor/key-set.ts';
import { metadataFindings, unusableMetadata } from '../../../src/doctor/metadata-findings.ts';
import { NOW_MS, response, server } from './samples.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const FIRST = 'https://idp.example.com/.well-known/oauth-authorization-server/realms/agents';
const SECOND = `${ISSUER}/.well-known/openid-configuration`;
const at = (url: string, status: number, body: unknown) => response(status, body, { method: 'GET', url });
const DOCUMENT = { issuer: ISSUER, token_endpoint: `${ISSUER}/token` };
const LOOKUP = {
  issuer: ISSUER,
  path: 'authorization_servers.main',
  endpoint: 'token_endpoint',
  allowInsecure: 'authorization_servers.main.allow_insecure_http: true',
  allowInsecureHttp: false,
} as const;

const unusable = (...requests: ReturnType<typeof at>[]) => unusableMetadata(LOOKUP, requests, 'no usable metadata');

function findingsOn(fields: Record<string, unknown>, { isUsed = true, keys = {} as Record<string, unknown> } = {}) {
  const found = metadataFindings(server(keys), isUsed ? 'token_exchange' : undefined, [
    at(FIRST, 200, { ...DOCUMENT, ...fields }),
  ]);
  return found.map(({ severity, code }) => `${severity} ${code}`);
}

test('names the place of the metadata and the token endpoint', () => {
  const findings = metadataFindings(server(), 'token_exchange', [at(FIRST, 404, ''), at(SECOND, 200, DOCUMENT)]);
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['metadata_found'],
  );
  assert.ok(findings[0]?.what.includes(SECOND) && findings[0].what.includes(DOCUMENT.token_endpoint));
});

test('names both places and their statuses if neither has the metadata', () => {
  const finding = unusable(at(FIRST, 404, ''), at(SECOND, 403, ''));
  assert.equal(finding.code, 'metadata_not_found');
  assert.ok(finding.what.includes(`${FIRST} (404)`) && finding.what.includes(`${SECOND} (403)`));
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

test('reports a web page in place of metadata', () => {
  assert.equal(unusable(at(FIRST, 200, '<html>')).code, 'metadata_unusable');
});

test('reports a plain http token endpoint with its address', () => {
  const plain = { ...DOCUMENT, token_endpoint: 'http://idp.example.com/token' };
  const finding = unusable(at(FIRST, 200, plain));
  assert.equal(finding.code, 'token_endpoint_insecure');
  assert.ok(finding.what.includes(plain.token_endpoint));
});

test('reports a token endpoint on loopback, and names the key that replaces discovery', () => {
  const local = { ...DOCUMENT, token_endpoint: 'http://127.0.0.1:9901/quitquitquit' };
  const finding = unusable(at(FIRST, 200, local));
  assert.equal(finding.code, 'token_endpoint_loopback');
  assert.match(`${finding.what} ${finding.fix}`, /127\.0\.0\.1:9901.*set authorization_servers\.\w+\.token_endpoint/);
});

test('warns if the metadata does not list the grant or the client authentication', () => {
  const lists = { grant_types_supported: ['password'], token_endpoint_auth_methods_supported: ['private_key_jwt'] };
  assert.deepEqual(findingsOn(lists), [
    'ok metadata_found',
    'warning grant_not_advertised',
    'warning auth_method_not_advertised',
  ]);
  assert.deepEqual(findingsOn(lists, { isUsed: false }), ['ok metadata_found', 'warning auth_method_not_advertised']);
});

const SPIFFE = {
  method: 'client_assertion',
  client_assertion: { file: '/svid' },
  client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
};
const CERTIFICATE = {
  client_auth: { method: 'tls_client_auth' },
  tls: { certificate: { file: '/c' }, private_key: { file: '/k' } },
};
const AUTH_METHODS: [listed: string, client: string, keys: Record<string, unknown>, accepted: boolean][] = [
  ['spiffe_jwt', 'a JWT-SVID', { client_auth: SPIFFE }, true],
  ['private_key_jwt', 'a JWT-SVID', { client_auth: SPIFFE }, true],
  ['spiffe_x509', 'a JWT-SVID', { client_auth: SPIFFE }, false],
  ['spiffe_jwt', 'another assertion', { client_auth: { ...SPIFFE, client_assertion_type: undefined } }, false],
  ['spiffe_x509', 'a certificate', CERTIFICATE, true],
  ['self_signed_tls_client_auth', 'a certificate', CERTIFICATE, true],
  ['spiffe_jwt', 'a certificate', CERTIFICATE, false],
];
for (const [listed, client, keys, accepted] of AUTH_METHODS) {
  test(`${accepted ? 'accepts' : 'does not accept'} "${listed}" for a client with ${client}`, () => {
    const found = findingsOn({ token_endpoint_auth_methods_supported: [listed] }, { keys });
    assert.deepEqual(found, ['ok metadata_found', ...(accepted ? [] : ['warning auth_method_not_advertised'])]);
  });
}

test('fixes of a lookup for keys name the settings of subject_token.verify', () => {
  const lookup = {
    issuer: ISSUER,
    path: 'subject_token.verify',
    endpoint: 'jwks_uri',
    allowInsecure: 'allow_insecure_http: true beside subject_token',
    allowInsecureHttp: false,
  } as const;
  const on = (body: unknown) => unusableMetadata(lookup, [at(FIRST, 200, body)], 'its metadata names no "jwks_uri"');
  const missing = on(DOCUMENT);
  assert.equal(missing.code, 'metadata_unusable');
  assert.match(`${missing.what} ${missing.fix}`, /names no "jwks_uri" set subject_token\.verify\.jwks_uri to skip/);
  const plain = on({ ...DOCUMENT, jwks_uri: 'http://idp.example.com/jwks' });
  assert.equal(plain.code, 'jwks_uri_insecure');
  assert.match(`${plain.what} ${plain.fix}`, /http:\/\/idp.example.com\/jwks .*set subject_token\.verify\.jwks_uri$/);
  const local = on({ ...DOCUMENT, jwks_uri: 'https://localhost/jwks' });
  assert.equal(local.code, 'jwks_uri_loopback');
  const inCluster = unusableMetadata(
    { ...lookup, issuer: 'http://idp.svc' },
    [at(FIRST, 200, { issuer: 'http://idp.svc', jwks_uri: 'http://idp.example.com/jwks' })],
    'no',
  );
  assert.match(inCluster.fix ?? '', /set allow_insecure_http: true beside subject_token if that network is trusted/);
  const other = on({ ...DOCUMENT, issuer: `${ISSUER}/` });
  assert.equal(other.code, 'issuer_mismatch');
  assert.match(other.fix ?? '', /set subject_token\.verify\.issuer to ".*\/agents\/"/);
});

const URL = 'https://idp.example.com/jwks';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const EC = publicKey.export({ format: 'jwk' });
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });

const read = (body: unknown, { status = 200, error = undefined as unknown, configured = true } = {}) =>
  readKeySet(response(status, body, { method: 'GET', url: URL, error }), { at: 'subject_token.verify', configured });

test('lists keys by name and algorithm', async () => {
  const { finding, keys } = await read({
    keys: [
      { ...EC, kid: 'one', use: 'sig' },
      { ...RSA, kid: 'two', alg: 'RS256' },
      { ...RSA, kid: 'any' },
      { ...EC, alg: 'ES256' },
    ],
  });
  assert.equal(
    finding.what,
    `4 keys at ${URL} for verification: "one" (ES256), "two" (RS256), "any" (RS256 and others), (unnamed) (ES256)`,
  );
  assert.deepEqual(keys[2]?.algorithms, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']);
  assert.equal(keys[3]?.name, undefined);
});

const UNUSABLE: [which: string, key: Record<string, unknown>][] = [
  ['for encryption', { ...RSA, use: 'enc', alg: 'RSA-OAEP' }],
  ['that is a shared secret', { kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' }],
  ['that is private', privateKey.export({ format: 'jwk' })],
  ['with a curve unknown to JWS', { ...EC, crv: 'secp256k1' }],
  ['without parameters', {}],
];
for (const [which, key] of UNUSABLE) {
  test(`does not use a key ${which}`, async () => {
    const { finding, keys } = await read({ keys: [key] });
    assert.deepEqual([finding.severity, finding.code, keys], ['error', 'keys_unusable', []]);
    assert.match(finding.what, /none of the 1 keys/);
    assert.match((await read({ keys: [key, EC] })).finding.what, /^one key at/);
  });
}

const INVALID_SETS: [which: string, body: unknown][] = [
  ['a web page', '<html></html>'],
  ['a single key', EC],
  ['a list', [EC]],
  ['an object of keys', { keys: { one: EC } }],
  ['a key set with a malformed member', { keys: [EC, 'key'] }],
];
for (const [which, body] of INVALID_SETS) {
  test(`refuses ${which} as a key set`, async () => {
    const { finding } = await read(body);
    assert.deepEqual([finding.severity, finding.code], ['error', 'keys_unusable']);
    assert.match(finding.what, /but not a key set/);
  });
}

test('reports a failed or incomplete response, with a fix where its address comes from', async () => {
  const gone = (await read('', { status: 404 })).finding;
  assert.deepEqual([gone.severity, gone.code], ['error', 'keys_unavailable']);
  assert.match(gone.what, /returned 404/);
  assert.equal(gone.fix, 'check subject_token.verify.jwks_uri');
  const discovered = (await read('', { status: 302, configured: false })).finding;
  assert.match(discovered.fix ?? '', /^fix the "jwks_uri" of the issuer's metadata/);
  const aborted = (await read({ keys: [EC] }, { error: new Error('too large') })).finding;
  assert.equal(aborted.code, 'keys_unavailable');
  assert.match(aborted.what, /incomplete/);
});

test('escapes control characters in key names', async () => {
  const { finding } = await read({ keys: [{ ...EC, kid: '\u001b[2Jx' }] });
  assert.ok(finding.what.includes('"?[2Jx"'));
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
