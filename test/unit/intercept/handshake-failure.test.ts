import assert from 'node:assert/strict';
import { test } from 'node:test';
import { causeOf, describeFailure } from '../../../src/intercept/handshake-failure.ts';
import { HANDSHAKE_FAILURES } from '../../../src/observability/proxy-observer.ts';

const errorWith = (code: string): Error => Object.assign(new Error('failed'), { code });

for (const [code, cause] of [
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'untrusted'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'untrusted'],
  ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'untrusted'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'untrusted'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'untrusted'],
  ['ERR_SSL_NO_SHARED_CIPHER', 'protocol'],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'protocol'],
  ['ECONNRESET', 'closed'],
  ['EPIPE', 'closed'],
] as const) {
  test(`takes ${code} for ${cause}`, () => assert.equal(causeOf(errorWith(code)), cause));
}

test('takes a connection that ends without an error for closed', () => assert.equal(causeOf(undefined), 'closed'));

for (const [userAgent, variable] of [
  ['curl/8.5.0', 'CURL_CA_BUNDLE'],
  ['python-requests/2.34.2', 'REQUESTS_CA_BUNDLE'],
  ['python-httpx/0.28.1', 'SSL_CERT_FILE'],
  ['Python-urllib/3.13', 'SSL_CERT_FILE'],
  ['Go-http-client/1.1', 'SSL_CERT_FILE'],
  ['node', 'NODE_EXTRA_CA_CERTS'],
  ['undici', 'NODE_EXTRA_CA_CERTS'],
  ['Java-http-client/17.0.15', 'JAVA_TOOL_OPTIONS'],
  ['git/2.43.0', 'GIT_SSL_CAINFO'],
  ['Boto3/1.40', 'AWS_CA_BUNDLE'],
  ['Deno/2.1', 'DENO_CERT'],
] as const) {
  test(`names ${variable} for ${userAgent}`, () => {
    for (const cause of ['untrusted', 'closed'] as const) {
      assert.ok(describeFailure(cause, userAgent).endsWith(` ${variable}`));
    }
  });
}

test("repeats nothing of the agent's own words", () => {
  for (const cause of HANDSHAKE_FAILURES) assert.ok(!describeFailure(cause, 'secret-agent').includes('secret'));
  assert.match(describeFailure('untrusted', undefined), /set SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, /);
});
