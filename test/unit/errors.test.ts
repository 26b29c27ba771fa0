import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeError, ERROR_CODES, errorCodesOf } from '../../src/error-catalogue.ts';
import { CambistError } from '../../src/errors.ts';

test('the error codes and their statuses are stable', () => {
  assert.deepEqual(Object.fromEntries(ERROR_CODES.map((code) => [code, describeError(code).status])), {
    ERR_ROUTE_NOT_FOUND: 403,
    ERR_ROUTES_INVALID: 503,
    ERR_AGENT_NOT_ALLOWED: 403,
    ERR_AGENT_UNKNOWN: 401,
    ERR_MISDIRECTED_REQUEST: 421,
    ERR_MESSAGE_TOO_LARGE: 413,
    ERR_TOO_MANY_HEADERS: 431,
    ERR_HEADER_MISMATCH: 400,
    ERR_SUBJECT_TOKEN_MISSING: 401,
    ERR_SUBJECT_TOKEN_INVALID: 401,
    ERR_HANDLE_INVALID: 401,
    ERR_INTERACTION_REQUIRED: 401,
    ERR_CONSENT_REQUIRED: 403,
    ERR_CROSS_SITE_REQUEST: 403,
    ERR_EXCHANGE_REFUSED: 403,
    ERR_CLIENT_REFUSED: 502,
    ERR_STS_RESPONSE_INVALID: 502,
    ERR_ISSUED_TOKEN_AUDIENCE: 502,
    ERR_STS_METADATA_INVALID: 502,
    ERR_STS_UNAVAILABLE: 503,
    ERR_CREDENTIAL_UNAVAILABLE: 503,
    ERR_UPSTREAM_UNREACHABLE: 502,
    ERR_UPSTREAM_TLS: 502,
    ERR_UPSTREAM_REFUSED_TOKEN: 502,
    ERR_CROSS_ROUTE_REFERENCE: 502,
    ERR_UPSTREAM_TIMEOUT: 504,
    ERR_REQUEST_TIMEOUT: 408,
    ERR_SHUTTING_DOWN: 503,
    ERR_OVERLOADED: 503,
    ERR_REVOCATIONS_UNKNOWN: 503,
    ERR_AUDIT_UNAVAILABLE: 503,
    ERR_INTERNAL: 500,
  });
});

test('every code has a title, a detail for the caller and a fix for the operator', () => {
  for (const code of ERROR_CODES) {
    const { title, detail, fix } = describeError(code);
    assert.match(title, /^[A-Z][^.]+$/, code);
    assert.match(detail, /^[A-Z].+\.$/, code);
    assert.match(fix, /^[A-Z].+\.$/, code);
  }
});

test('lists the errors of a phase in the order of the catalogue', () => {
  assert.deepEqual(errorCodesOf('any'), [
    'ERR_REQUEST_TIMEOUT',
    'ERR_SHUTTING_DOWN',
    'ERR_OVERLOADED',
    'ERR_AUDIT_UNAVAILABLE',
    'ERR_INTERNAL',
  ]);
  assert.deepEqual(errorCodesOf('upstream'), [
    'ERR_UPSTREAM_UNREACHABLE',
    'ERR_UPSTREAM_TLS',
    'ERR_UPSTREAM_REFUSED_TOKEN',
    'ERR_CROSS_ROUTE_REFERENCE',
    'ERR_UPSTREAM_TIMEOUT',
  ]);
});

test('an error has its code, status, message and options', () => {
  const cause = new Error('caught');
  const error = new CambistError('ERR_STS_UNAVAILABLE', 'message', {
    cause,
    retryAfterSeconds: 3,
    claims: '{}',
    oauthError: 'temporarily_unavailable',
  });
  const { name, code, status, message, retryAfterSeconds, claims, oauthError } = error;
  assert.deepEqual(
    { name, code, status, message, retryAfterSeconds, claims, oauthError },
    {
      name: 'CambistError',
      code: 'ERR_STS_UNAVAILABLE',
      status: 503,
      message: 'message',
      retryAfterSeconds: 3,
      claims: '{}',
      oauthError: 'temporarily_unavailable',
    },
  );
  assert.equal(error.cause, cause);
});

test('an error without a cause has no cause property, so a log shows no empty one', () => {
  assert.equal('cause' in new CambistError('ERR_INTERNAL', 'message'), false);
});
