import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeError, ERROR_CODES, errorCodesOf } from '../../src/error-catalogue.ts';
import { CambistError } from '../../src/errors.ts';

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
  const options = { cause: new Error('caught'), retryAfterSeconds: 3, claims: '{}', oauthError: 'slow_down' };
  const error = new CambistError('ERR_STS_UNAVAILABLE', 'message', options);
  const expected = { name: 'CambistError', code: 'ERR_STS_UNAVAILABLE', status: 503, message: 'message', ...options };
  for (const [key, value] of Object.entries(expected)) assert.equal(error[key as keyof CambistError], value, key);
});

test('an error without a cause has no cause property, so a log shows no empty one', () => {
  assert.equal('cause' in new CambistError('ERR_INTERNAL', 'message'), false);
});
