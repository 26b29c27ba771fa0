import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PeerCertificate } from 'node:tls';
import { createTextReport, summary } from '../../../src/commands/doctor.ts';
import { clientFinding } from '../../../src/doctor/client-refusal.ts';
import { fine, problem, warning } from '../../../src/doctor/finding.ts';
import { type ConfigPaths, codeOf, concernsCertificate, connectionFinding } from '../../../src/doctor/unreachable.ts';
import { CambistError } from '../../../src/errors.ts';
import type { FailedTokenRequest } from '../../../src/tokens/diagnosis.ts';
import { response, server } from './samples.ts';

const CERTIFICATE = {
  subjectaltname: 'DNS:idp.internal',
  issuer: { CN: 'Example Corp CA' },
  valid_from: 'Jan  1 00:00:00 2027 GMT',
  valid_to: 'Jan  1 00:00:00 2026 GMT',
} as PeerCertificate;

const PATHS = {
  address: 'authorization_servers.main.issuer or token_endpoint',
  timeout: 'authorization_servers.main.timeout',
  ca: 'authorization_servers.main.tls.ca',
  certificate: 'authorization_servers.main.tls.certificate and private_key',
};

const failed = (code: string, paths: ConfigPaths = PATHS) =>
  connectionFinding({
    url: 'https://idp.example.com/.well-known/openid-configuration',
    error: Object.assign(new Error('no'), { code }),
    certificate: CERTIFICATE,
    paths,
    ca: undefined,
    timeoutMs: 5000,
  });

/** test/integration/doctor-backend.test.ts has those that a real connection provokes. */
const CASES: [code: string, finding: string, says: RegExp][] = [
  ['EAI_AGAIN', 'host_unknown', /idp\.example\.com cannot be resolved.*port 53/],
  ['EMFILE', 'connection_failed', /too many open files.*ulimit -n/],
  ['ECONNRESET', 'connection_failed', /ECONNRESET/],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'certificate_untrusted', /intermediate/],
  ['CERT_NOT_YET_VALID', 'certificate_not_yet_valid', /not valid before Jan {2}1 00:00:00 2027/],
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
  const on = (code: string) => failed(code, paths).fix ?? '';
  assert.equal(on('ETIMEDOUT'), 'allow connections to idp.example.com');
  assert.equal(
    on('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'),
    'configure the server to serve this address without client certificates: cambist presents none here',
  );
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
    ['http://a', 'EMFILE', false],
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

const oauth = (error: string, error_description?: string) => ({ error, error_description });

const REFUSALS: [when: string, status: number, body: unknown, finding: string][] = [
  ['refused subject token', 400, oauth('invalid_grant'), 'client_accepted'],
  ['Keycloak with an invalid token', 400, oauth('invalid_request', 'Invalid token'), 'client_accepted'],
  ['Dex with an invalid token', 401, oauth('access_denied'), 'client_accepted'],
  ['refused target', 400, oauth('invalid_target'), 'client_accepted'],
  ['Keycloak with an unknown audience', 400, oauth('invalid_client', 'Audience not found'), 'client_accepted'],
  ['refused client', 401, oauth('invalid_client'), 'client_refused'],
  ['refused client, with status 400', 400, oauth('invalid_client'), 'client_refused'],
  ['Keycloak with a wrong secret', 401, oauth('unauthorized_client'), 'client_refused'],
  ['401 without a body', 401, '', 'client_refused'],
  ['client that may not exchange', 400, oauth('unauthorized_client'), 'exchange_disabled'],
  ['server without the grant', 400, oauth('unsupported_grant_type'), 'exchange_disabled'],
  ['Auth0 with a wrong secret', 401, oauth('access_denied', 'Unauthorized'), 'client_refused'],
  ['Entra with an unknown client', 400, oauth('unauthorized_client', "AADSTS700016: 'x' not found"), 'client_refused'],
  ['older Keycloak', 403, oauth('access_denied', 'Client not allowed to exchange'), 'exchange_disabled'],
  ['web page instead of a token endpoint', 404, '<html>', 'server_unavailable'],
  ['firewall', 403, '<html>', 'server_unavailable'],
  ['server that accepts any token', 200, { access_token: 'x' }, 'any_subject_accepted'],
  ['broken server', 500, 'oops', 'server_unavailable'],
  ['rate-limited client', 429, '', 'server_unavailable'],
];
for (const [when, status, body, finding] of REFUSALS) {
  test(`reports ${finding}: ${when}`, async () => {
    const { text } = response(status, body);
    const failure = new CambistError('ERR_STS_RESPONSE_INVALID', 'no token');
    const refused = {
      server: server(),
      url: 'https://idp.example.com/token',
      form: 'grant_type=x',
      sent: [],
      response: { status, retryAfter: undefined, text },
      failure,
    };
    const attempt = { failure, refused: refused as unknown as FailedTokenRequest, requests: [] };
    assert.equal((await clientFinding(attempt)).code, finding);
  });
}

const ROUTE = { kind: 'route', name: 'github' } as const;
const BAD = problem('audience_wrong', 'it is for others', { why: 'so it is', fix: 'change it' });
const MAYBE = warning('lifetime_short', 'it is short');

const CLAIMS = { iss: 'a\u001b[2J\u009b\u202e', exp: 1_795_608_000, 'a\u0007b': [1, { c: true }] };

function reported(colour: boolean) {
  const lines: string[] = [];
  const report = createTextReport((line) => lines.push(line), colour);
  report.section(ROUTE, 'route "github"');
  const issued = { ...fine('token_issued', 'a token was issued'), claims: CLAIMS };
  for (const finding of [BAD, MAYBE, issued]) report.finding(ROUTE, finding);
  return lines;
}

test('writes a sign and a sentence for each step, with cause and fix, or readable claims without control characters', () => {
  assert.deepEqual(reported(false), [
    'route "github"',
    '  ✗ it is for others [audience_wrong]',
    '      why: so it is',
    '      fix: change it',
    '  ! it is short [lifetime_short]',
    '  ✓ a token was issued',
    '      iss: "a\\u001b[2J??"',
    '      exp: 1795608000 (2026-11-25T12:00:00.000Z)',
    '      a\\u0007b: [1,{"c":true}]',
  ]);
  assert.equal(reported(true)[1], '  \u001b[31m✗\u001b[0m it is for others [audience_wrong]', 'colours the signs only');
});

test('counts problems and warnings in the last line', () => {
  assert.equal(summary([BAD, MAYBE]), '1 problem; 1 warning');
  assert.equal(summary([BAD, BAD, MAYBE, MAYBE]), '2 problems; 2 warnings');
  assert.equal(summary([fine('lifetime', 'x')]), 'no problem found');
});
