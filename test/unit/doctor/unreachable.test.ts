import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfigPaths } from '../../../src/doctor/config-paths.ts';
import { codeOf, concernsCertificate, connectionFinding } from '../../../src/doctor/unreachable.ts';

const CERTIFICATE = {
  names: 'DNS:idp.internal',
  issuer: 'Example Corp CA',
  validFrom: 'Jan  1 00:00:00 2027 GMT',
  validTo: 'Jan  1 00:00:00 2026 GMT',
};

const PATHS = {
  address: 'authorization_servers.main.issuer or token_endpoint',
  timeout: 'authorization_servers.main.timeout',
  ca: 'authorization_servers.main.tls.ca',
  certificate: 'authorization_servers.main.tls.certificate and private_key',
};

const failed = (
  code: string,
  ca?: string,
  url = 'https://idp.example.com/.well-known/openid-configuration',
  paths: ConfigPaths = PATHS,
) =>
  connectionFinding({
    url,
    error: Object.assign(new Error('no'), { code }),
    certificate: CERTIFICATE,
    paths,
    ca,
    timeoutMs: 5000,
  });

const CASES: [code: string, finding: string, says: RegExp][] = [
  ['ENOTFOUND', 'host_unknown', /idp\.example\.com cannot be resolved/],
  ['EAI_AGAIN', 'host_unknown', /DNS did not respond for the name idp\.example\.com.*port 53/],
  ['ECONNREFUSED', 'connection_refused', /nothing listens at idp\.example\.com/],
  ['UND_ERR_CONNECT_TIMEOUT', 'connection_timeout', /5000 ms.*authorization_servers\.main\.timeout/],
  ['ECONNRESET', 'connection_failed', /ECONNRESET/],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'certificate_untrusted', /"Example Corp CA".*authorization_servers\.main\.tls\.ca/],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'certificate_untrusted', /intermediate/],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'certificate_wrong_name',
    /not valid for idp\.example\.com, but for "DNS:idp\.internal"/,
  ],
  ['CERT_HAS_EXPIRED', 'certificate_expired', /expired on Jan {2}1 00:00:00 2026 GMT.*clock of this machine/],
  ['CERT_NOT_YET_VALID', 'certificate_not_yet_valid', /not valid before Jan {2}1 00:00:00 2027/],
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'client_certificate_required', /tls\.certificate/],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls_failed', /plain http/],
];
for (const [code, finding, says] of CASES) {
  test(`reports ${finding} with a fix: ${code}`, () => {
    const { severity, code: found, what, why = '', fix = '' } = failed(code);
    assert.deepEqual([severity, found], ['error', finding]);
    assert.match(`${what} ${why} ${fix}`, says);
    assert.notEqual(fix, '');
  });
}

test('a fix names no setting that the config lacks, as for the keys of an issuer', () => {
  const paths = { ...PATHS, timeout: undefined, certificate: undefined };
  const on = (code: string) => failed(code, undefined, undefined, paths).fix ?? '';
  assert.equal(on('ETIMEDOUT'), 'allow connections to idp.example.com');
  assert.equal(
    on('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'),
    'configure the server to serve this address without client certificates: cambist presents none here',
  );
});

test('names the file of tls.ca if it is set', () => {
  assert.match(failed('SELF_SIGNED_CERT_IN_CHAIN', '/etc/ca.pem').why ?? '', /\/etc\/ca\.pem .*trusts no other CA/);
});

test('suggests https if a peer presents a certificate at an http address', () => {
  const { code, what, fix } = failed('UND_ERR_SOCKET', undefined, 'http://idp:8443/token');
  assert.equal(code, 'tls_required');
  assert.match(what, /idp:8443 speaks TLS/);
  assert.match(fix ?? '', /https:\/\/ in authorization_servers\.main\.issuer or token_endpoint/);
});

test('reads the certificate only if it tells more than the error', () => {
  const error = (code: string) => Object.assign(new Error('no'), { code });
  const cases: [url: string, code: string, reads: boolean][] = [
    ['https://a', 'CERT_HAS_EXPIRED', true],
    ['https://a', 'ERR_TLS_CERT_ALTNAME_INVALID', true],
    ['https://a', 'ECONNRESET', false],
    ['http://a', 'UND_ERR_SOCKET', true],
    ['http://a', 'HPE_INVALID_CONSTANT', true],
    ['http://a', 'ECONNREFUSED', false],
    ['http://a', 'ENOTFOUND', false],
    ['http://a', 'UND_ERR_CONNECT_TIMEOUT', false],
  ];
  for (const [url, code, reads] of cases) assert.equal(concernsCertificate(url, error(code)), reads, `${url} ${code}`);
});

test('returns the code of an error, the code of its cause, or its name', () => {
  assert.equal(codeOf(new DOMException('slow', 'TimeoutError')), 'TimeoutError');
  assert.equal(codeOf(new Error('x', { cause: Object.assign(new Error('y'), { code: 'ECONNRESET' }) })), 'ECONNRESET');
  assert.equal(codeOf(new TypeError('x')), 'TypeError');
  assert.equal(codeOf('x'), 'unknown error');
});
