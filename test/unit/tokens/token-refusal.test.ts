import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { addDiagnosis } from '../../../src/tokens/diagnosis.ts';
import { quoteWords, refusalWords } from '../../../src/tokens/token-response.ts';
import { errorOf, read } from './read-response.ts';
import { failsWith } from './sample.ts';

const refusals: [status: number, error: string, description: string | undefined, code: ErrorCode][] = [
  [400, 'invalid_grant', undefined, 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_token', 'Invalid token', 'ERR_SUBJECT_TOKEN_INVALID'],
  [401, 'invalid_grant', 'Session not active', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', undefined, 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', '', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'Invalid token', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'subject_token is expired', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'The Assertion is bad', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'Invalid token type, must be access token', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'Parameter "foo" is missing', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'client_assertion has expired', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'client_assertion_type is not supported', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'the actor token is not valid', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'actor_token_type is missing', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'requested_token_type unsupported', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'subject_token_type unsupported', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'Standard token exchange is not enabled for the client', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'Requested audience not available: docs', 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_request', "client 'a:b:c' is not authorized to get token with aud=a:b:d", 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_request', 'token exchange audience a:b:d is invalid', 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_request', 'token verification failed: JWT+aud+claim+has+value+%5Bx%5D', 'ERR_CLIENT_REFUSED'],
  [
    400,
    'invalid_request',
    'invalid subject_token: token verification failed: Expired+JWT',
    'ERR_SUBJECT_TOKEN_INVALID',
  ],
  [400, 'invalid_client', 'Audience not found', 'ERR_EXCHANGE_REFUSED'],
  [401, 'invalid_client', 'Invalid client or Invalid client credentials', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_client', undefined, 'ERR_CLIENT_REFUSED'],
  [400, 'unauthorized_client', undefined, 'ERR_CLIENT_REFUSED'],
  [400, 'unsupported_grant_type', undefined, 'ERR_CLIENT_REFUSED'],
  [403, 'something_else', undefined, 'ERR_CLIENT_REFUSED'],
  [400, 'temporarily_unavailable', undefined, 'ERR_STS_UNAVAILABLE'],
  [400, 'server_error', undefined, 'ERR_STS_UNAVAILABLE'],
  [400, 'invalid_target', undefined, 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_scope', undefined, 'ERR_EXCHANGE_REFUSED'],
  [403, 'access_denied', 'Client is not within the token audience', 'ERR_EXCHANGE_REFUSED'],
  [401, 'access_denied', undefined, 'ERR_EXCHANGE_REFUSED'],
  [400, 'interaction_required', 'AADSTS50076', 'ERR_SUBJECT_TOKEN_INVALID'],
];

test("treats Google's errors, which are objects, as a refusal of cambist's request", () => {
  const error = { code: 400, message: 'Unknown name "client_id"', status: 'INVALID_ARGUMENT' };
  assert.throws(() => read({ error }, { status: 400 }), failsWith('ERR_CLIENT_REFUSED'));
});

for (const [status, error, description, code] of refusals) {
  const own = code === 'ERR_SUBJECT_TOKEN_INVALID' ? 'ERR_CLIENT_REFUSED' : code;
  const said = description === undefined ? error : `${error}, "${description}"`;
  const body = { error, error_description: description };
  test(`maps ${status} ${said} to ${code}, or to ${own} when the credential is cambist's`, () => {
    assert.throws(() => read(body, { status }), failsWith(code));
    assert.throws(() => read(body, { status, credentialOwner: 'cambist' }), failsWith(own));
  });
}

test('reads no more than 2 KiB of what a server writes, and quotes no credential that this cuts', () => {
  const words = refusalWords({ error: 'x'.repeat(9000), error_description: 'audience '.repeat(30_000) });
  assert.deepEqual([words.error.length, words.description.length], [2048, 2048]);
  const late = { error: 'invalid_client', error_description: `${'-'.repeat(2048)} audience not found` };
  assert.equal(errorOf(() => read(late, { status: 400 })).code, 'ERR_CLIENT_REFUSED');
  const sent = [{ name: 'client_secret', value: 'pa-ss-wo-rd', isCredential: true }];
  const description = refusalWords({ error_description: 'pa-ss-wo-rd '.repeat(200) }).description;
  assert.match(description, /pa-ss-wo$/);
  assert.match(quoteWords({ error: '', description }, sent), /^(?:\[redacted\] )+\[?\w*…?$/);
  const short = quoteWords({ error: '', description: `${'pa-ss-wo-rd'.repeat(186)}pa` }, sent);
  assert.doesNotMatch(short, /pa/);
});

test('ignores claims that are too long for a header', () => {
  const error = errorOf(() => read({ error: 'interaction_required', claims: 'x'.repeat(4097) }, { status: 400 }));
  assert.equal(error.code, 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(error.claims, undefined);
});

test('passes claims on with no other error', () => {
  assert.equal(errorOf(() => read({ error: 'invalid_grant', claims: '{}' }, { status: 400 })).claims, undefined);
});

test('puts the error of the server into the message, shortened and without tokens', () => {
  const token = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl';
  const description = `no such session: ${token}\r\n${'very '.repeat(500)}`;
  const error = errorOf(() =>
    read({ error: 'invalid_grant', error_description: description, refresh_token: token }, { status: 400 }),
  );
  assert.match(
    error.message,
    /^authorization server "main" refused with 400, invalid_grant: no such session: \[redacted\]/,
  );
  assert.ok(error.message.length < 500 && !/[\r\n]/.test(error.message));
  assert.equal(error.oauthError, 'invalid_grant');
});

test('passes interaction_required with claims on, for either owner of the credential', () => {
  const claims = JSON.stringify({ access_token: { capolids: { essential: true, values: ['x'] } } });
  for (const credentialOwner of ['caller', 'cambist'] as const) {
    const error = errorOf(() => read({ error: 'interaction_required', claims }, { status: 400, credentialOwner }));
    assert.deepEqual([error.code, error.claims], ['ERR_INTERACTION_REQUIRED', claims]);
  }
});

const KNOWN = { finding: 'client_refused', cause: 'the client is refused', fix: 'compare the secret' };
const failure = () => new CambistError('ERR_CLIENT_REFUSED', 'refused');

test('adds the diagnosis of the catalogue to an error, once', async () => {
  const error = failure();
  await addDiagnosis(
    error,
    async () => 'catalogue',
    (catalogue) => ({ ...KNOWN, cause: catalogue }),
  );
  await addDiagnosis(
    error,
    async () => 'another',
    (catalogue) => ({ ...KNOWN, cause: catalogue }),
  );
  assert.equal(error.diagnosis?.cause, 'catalogue');
});

test('leaves the error as it is if nothing can explain it', async () => {
  const error = failure();
  const broken = () => {
    throw new TypeError('a bug');
  };
  await addDiagnosis(error, async () => 'catalogue', broken);
  await addDiagnosis(
    error,
    () => Promise.reject(new Error('no such file')),
    () => KNOWN,
  );
  await addDiagnosis(error, undefined, () => KNOWN);
  await addDiagnosis(
    error,
    async () => 'catalogue',
    () => undefined,
  );
  assert.equal(error.diagnosis, undefined);
  const other = new Error('not of cambist');
  await addDiagnosis(
    other,
    async () => 'catalogue',
    () => KNOWN,
  );
  assert.deepEqual(Object.keys(other), []);
});
