import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { upstreamError } from '../../../src/proxy/backend-failure.ts';
import { stalledUpload } from '../../../src/proxy/body-wait.ts';

const GITHUB = { name: 'github', timeouts: { connectMs: 10_000, responseHeadersMs: 90_000, stallMs: 60_000 } };

const withCode = (code: string): Error => Object.assign(new Error('10.0.0.7'), { code });

test('maps a connection error to an error code', () => {
  for (const [code, expected] of [
    ['UND_ERR_HEADERS_TIMEOUT', 'ERR_UPSTREAM_TIMEOUT'],
    ['CERT_HAS_EXPIRED', 'ERR_UPSTREAM_TLS'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'ERR_UPSTREAM_TLS'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_UPSTREAM_TLS'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_UPSTREAM_TLS'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'ERR_UPSTREAM_TLS'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'ERR_UPSTREAM_TLS'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'ERR_UPSTREAM_TLS'],
    ['INVALID_CA', 'ERR_UPSTREAM_TLS'],
    ['EPROTO', 'ERR_UPSTREAM_TLS'],
    ['ECONNREFUSED', 'ERR_UPSTREAM_UNREACHABLE'],
    ['ENOTFOUND', 'ERR_UPSTREAM_UNREACHABLE'],
    ['ECONNRESET', 'ERR_UPSTREAM_UNREACHABLE'],
    ['UND_ERR_CONNECT_TIMEOUT', 'ERR_UPSTREAM_UNREACHABLE'],
    ['UND_ERR_SOCKET', 'ERR_UPSTREAM_UNREACHABLE'],
    ['UND_ERR_INVALID_ARG', 'ERR_INTERNAL'],
    ['', 'ERR_UPSTREAM_UNREACHABLE'],
  ]) {
    assert.equal(upstreamError(withCode(code as string), GITHUB).code, expected, code);
  }
});

test('names the route and keeps the cause', () => {
  const caught = withCode('ECONNREFUSED');
  const error = upstreamError(caught, GITHUB);
  assert.match(error.message, /^route "github": the upstream cannot be reached/);
  assert.equal(error.cause, caught);
});

test('names the timeout that ended a request, its value and a fix', () => {
  assert.equal(
    upstreamError(withCode('UND_ERR_HEADERS_TIMEOUT'), GITHUB).message,
    'route "github": the upstream sent no response headers within timeouts.response_headers, which is 90s: find out why it is slow, or raise the limit',
  );
  assert.equal(
    stalledUpload('github', 300_000).message,
    'route "github": no byte moved for timeouts.stall, which is 5m, while the upload waited for the backend: find out why it stopped reading, or raise timeouts.stall',
  );
});

test('distinguishes an untrusted certificate from a failed handshake', () => {
  for (const [code, says] of [
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /certificate is not trusted: set tls\.ca/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /certificate is not trusted: set tls\.ca/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /failed the TLS handshake: its port may serve plain http/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', /may require a client certificate: see tls\.certificate$/],
    ['EPROTO', /failed the TLS handshake/],
  ] as const) {
    assert.match(upstreamError(withCode(code), GITHUB).message, says, code);
  }
});

test('keeps a CambistError', () => {
  const error = new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'x');
  assert.equal(upstreamError(error, GITHUB), error);
});
