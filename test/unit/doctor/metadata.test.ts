import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metadataFindings } from '../../../src/doctor/metadata.ts';
import { unusableMetadata } from '../../../src/doctor/unusable-metadata.ts';
import { answer, server } from './samples.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const FIRST = 'https://idp.example.com/.well-known/oauth-authorization-server/realms/agents';
const SECOND = `${ISSUER}/.well-known/openid-configuration`;
const at = (url: string, status: number, body: unknown) => answer(status, body, { method: 'GET', url });
const DOCUMENT = { issuer: ISSUER, token_endpoint: `${ISSUER}/token` };

test('it is said which of the two places has the metadata, and where the token endpoint is', () => {
  const findings = metadataFindings(
    server(),
    'token_exchange',
    [at(FIRST, 404, ''), at(SECOND, 200, DOCUMENT)],
    undefined,
  );
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['metadata_found'],
  );
  assert.ok(findings[0]?.what.includes(SECOND) && findings[0].what.includes(DOCUMENT.token_endpoint));
});

test('both places are named with their answers where neither has it', () => {
  const [finding] = metadataFindings(server(), 'token_exchange', [at(FIRST, 404, ''), at(SECOND, 403, '')], 'no');
  assert.equal(finding?.code, 'metadata_not_found');
  assert.ok(finding?.what.includes(`${FIRST} (404)`) && finding.what.includes(`${SECOND} (403)`));
});

test('both strings are shown where the issuer is another', () => {
  const other = { ...DOCUMENT, issuer: 'http://keycloak:8080/realms/agents' };
  const [finding] = metadataFindings(server(), 'token_exchange', [at(FIRST, 200, other)], 'no');
  assert.equal(finding?.code, 'issuer_mismatch');
  assert.ok(finding?.what.includes(`"${other.issuer}"`) && finding.what.includes(`"${ISSUER}"`));
  assert.match(finding?.fix ?? '', /set authorization_servers\.main\.issuer to "http:\/\/keycloak:8080/);
});

test('a slash at the end is named as the difference', () => {
  const [finding] = metadataFindings(
    server(),
    'token_exchange',
    [at(FIRST, 200, { ...DOCUMENT, issuer: `${ISSUER}/` })],
    'no',
  );
  assert.match(finding?.why ?? '', /slash at the end/);
});

test('an issuer that would steer a terminal cannot', () => {
  const [finding] = metadataFindings(server(), 'token_exchange', [at(FIRST, 200, { issuer: '\u001b[2Jx' })], 'no');
  assert.ok(finding?.what.includes('"?[2Jx"'));
});

test('a web page in place of metadata is told as one', () => {
  const [finding] = metadataFindings(server(), 'token_exchange', [at(FIRST, 200, '<html>')], 'no');
  assert.equal(finding?.code, 'metadata_unusable');
});

test('a token endpoint of plain http is a finding with its address', () => {
  const plain = { ...DOCUMENT, token_endpoint: 'http://idp.example.com/token' };
  const [finding] = metadataFindings(server(), 'token_exchange', [at(FIRST, 200, plain)], 'no');
  assert.equal(finding?.code, 'token_endpoint_insecure');
  assert.ok(finding?.what.includes(plain.token_endpoint));
});

test('reports a token endpoint on loopback, and names the key that replaces discovery', () => {
  const local = { ...DOCUMENT, token_endpoint: 'http://127.0.0.1:9901/quitquitquit' };
  const [finding] = metadataFindings(server(), 'token_exchange', [at(FIRST, 200, local)], 'no');
  assert.equal(finding?.code, 'token_endpoint_loopback');
  assert.match(`${finding?.what} ${finding?.fix}`, /127\.0\.0\.1:9901.*set authorization_servers\.\w+\.token_endpoint/);
});

test('what the server does not list of itself is worth a look', () => {
  const lists = { grant_types_supported: ['password'], token_endpoint_auth_methods_supported: ['private_key_jwt'] };
  const codes = (grant: 'token_exchange' | undefined) =>
    metadataFindings(server(), grant, [at(FIRST, 200, { ...DOCUMENT, ...lists })], undefined).map(
      ({ severity, code }) => `${severity} ${code}`,
    );
  assert.deepEqual(codes('token_exchange'), [
    'ok metadata_found',
    'warning grant_not_advertised',
    'warning auth_method_not_advertised',
  ]);
  assert.deepEqual(codes(undefined), ['ok metadata_found', 'warning auth_method_not_advertised']);
});

test('where keys are looked for, the fix is where the config says whose', () => {
  const lookup = {
    issuer: ISSUER,
    place: 'subject_token.verify',
    endpoint: 'jwks_uri',
    allowInsecure: 'allow_insecure_http: true beside subject_token',
    allowInsecureHttp: false,
  } as const;
  const on = (body: unknown) => unusableMetadata(lookup, [at(FIRST, 200, body)], 'its metadata names no "jwks_uri"');
  const missing = on(DOCUMENT);
  assert.equal(missing.code, 'metadata_unusable');
  assert.match(
    `${missing.what} ${missing.fix}`,
    /names no "jwks_uri" set subject_token\.verify\.jwks_uri, which skips discovery/,
  );
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
