import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MetadataUse, metadataFindings, unusableMetadata } from '../../../src/doctor/metadata-findings.ts';
import { response, server } from './samples.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const FIRST = 'https://idp.example.com/.well-known/oauth-authorization-server/realms/agents';
const SECOND = `${ISSUER}/.well-known/openid-configuration`;
const at = (url: string, status: number, body: unknown) => response(status, body, { method: 'GET', url });
const DOCUMENT = { issuer: ISSUER, token_endpoint: `${ISSUER}/token` };
const EXCHANGE: MetadataUse = { grant: 'token_exchange', idJag: undefined };
const LOOKUP = {
  issuer: ISSUER,
  path: 'authorization_servers.main',
  endpoint: 'token_endpoint',
  allowInsecure: 'authorization_servers.main.allow_insecure_http: true',
  allowInsecureHttp: false,
} as const;

const unusable = (...requests: ReturnType<typeof at>[]) => unusableMetadata(LOOKUP, requests, 'no usable metadata');

/** The findings on a document with these fields, as `severity code`. */
function findingsOn(
  fields: Record<string, unknown>,
  { uses = [EXCHANGE] as MetadataUse[], keys = {} as Record<string, unknown> } = {},
) {
  const found = metadataFindings(server(keys), uses[0], [at(FIRST, 200, { ...DOCUMENT, ...fields })]);
  return found.map(({ severity, code }) => `${severity} ${code}`);
}

test('names the place of the metadata and the token endpoint', () => {
  const findings = metadataFindings(server(), EXCHANGE, [at(FIRST, 404, ''), at(SECOND, 200, DOCUMENT)]);
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
  assert.deepEqual(findingsOn(lists, { uses: [] }), ['ok metadata_found', 'warning auth_method_not_advertised']);
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

const ID_JAG_LISTS = [
  ['issuer', 'identity_chaining_requested_token_types_supported', 'urn:ietf:params:oauth:token-type:id-jag'],
  ['receiver', 'authorization_grant_profiles_supported', 'urn:ietf:params:oauth:grant-profile:id-jag'],
] as const;
for (const [idJag, field, value] of ID_JAG_LISTS) {
  test(`warns if ${field} does not list ID-JAGs`, () => {
    const use: MetadataUse = { grant: idJag === 'issuer' ? 'token_exchange' : 'jwt_bearer', idJag };
    const missing = ['ok metadata_found', 'warning id_jag_not_advertised'];
    assert.deepEqual(findingsOn({ [field]: ['urn:example:other'] }, { uses: [use] }), missing);
    assert.deepEqual(findingsOn({ [field]: [value] }, { uses: [use] }), ['ok metadata_found']);
    assert.deepEqual(findingsOn({}, { uses: [use] }), ['ok metadata_found']);
    assert.deepEqual(findingsOn({ [field]: ['urn:example:other'] }), ['ok metadata_found']);
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
