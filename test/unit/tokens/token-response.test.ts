import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { addDiagnosis } from '../../../src/tokens/diagnosis.ts';
import {
  asksForNonce,
  type ExpectedResponse,
  processTokenResponse,
  quoteWords,
  refusalWords,
} from '../../../src/tokens/token-response.ts';
import { fuzz } from '../../fuzz/targets/token-response.ts';
import { ACCESS_TOKEN, expectedResponse, failsWith, JWT } from './sample.ts';

type Fields = { status?: number } & Partial<ExpectedResponse>;

function read(body: unknown, { status = 200, ...fields }: Fields = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return processTokenResponse({ status, retryAfter: undefined, text }, expectedResponse(fields), 0);
}

function errorOf(run: () => unknown): CambistError {
  try {
    run();
  } catch (error) {
    if (error instanceof CambistError) return error;
  }
  throw new Error('expected a CambistError');
}

const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const GOOD = { access_token: 'issued', issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: 300 };

const { issued_token_type: _type, ...WITHOUT_TYPE } = GOOD;
const { expires_in: _life, ...WITHOUT_LIFE } = GOOD;

const usable: [what: string, body: object, life: number | undefined, requested?: string][] = [
  ['by the RFC', GOOD, 300],
  ['token_type in capitals', { ...GOOD, token_type: 'BEARER' }, 300],
  ['no issued_token_type (Entra, LemonLDAP::NG)', WITHOUT_TYPE, 300],
  ['issued_token_type jwt', { ...GOOD, issued_token_type: JWT }, 300],
  ['the requested type', { ...GOOD, issued_token_type: 'urn:x' }, 300, 'urn:x'],
  ['a refresh token and an id token beside it', { ...GOOD, refresh_token: 'r', id_token: 'i', scope: 's' }, 300],
  ['expires_in as a string with a fraction', { ...GOOD, expires_in: '299.5' }, 299.5],
  ['expires_in 0', { ...GOOD, expires_in: 0 }, 0],
  ['expires_in negative, as a string', { ...GOOD, expires_in: '-5' }, -5],
  ['expires_in null', { ...GOOD, expires_in: null }, undefined],
  ['no expires_in', WITHOUT_LIFE, undefined],
];

const unusable: [what: string, body: unknown][] = [
  ['an empty access_token (zitadel/oidc)', { ...GOOD, access_token: '' }],
  ['no access_token', { token_type: 'Bearer' }],
  ['an access_token that is an object', { ...GOOD, access_token: { value: 'x' } }],
  ['an access_token with a space', { ...GOOD, access_token: 'a b' }],
  ['an access_token with a line end', { ...GOOD, access_token: 'a\r\nx-evil: 1' }],
  ['no token_type', { access_token: 'issued' }],
  ['token_type N_A, which has no Authorization header', { ...GOOD, token_type: 'N_A' }],
  ['token_type DPoP, which was not requested', { ...GOOD, token_type: 'DPoP' }],
  ['token_type that is a list', { ...GOOD, token_type: ['Bearer'] }],
  ['an id token', { ...GOOD, issued_token_type: ID_TOKEN }],
  ['a refresh token', { ...GOOD, issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
  ['issued_token_type that is a number', { ...GOOD, issued_token_type: 7 }],
  ['expires_in that is an empty string', { ...GOOD, expires_in: '' }],
  ['expires_in true', { ...GOOD, expires_in: true }],
  ['expires_in that is infinite', '{"access_token":"issued","token_type":"Bearer","expires_in":1e999}'],
  ['HTML (LemonLDAP::NG)', '<!doctype html><title>Sign in</title>'],
  ['a list', [GOOD]],
  ['null', 'null'],
];

const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';

for (const [what, body, life, requestedTokenType] of usable) {
  test(`accepts a response: ${what}`, () => {
    const { accessToken, tokenType, expiresInSeconds } = read(body, { requestedTokenType });
    assert.deepEqual([accessToken, tokenType, expiresInSeconds], ['issued', 'Bearer', life]);
  });
}

test('reads a scope that is a string, and leaves out any other', () => {
  assert.equal(read({ ...GOOD, scope: 'repo user' }).scope, 'repo user');
  for (const scope of [undefined, null, 7, ['repo'], { repo: true }]) {
    assert.equal(read({ ...GOOD, scope }).scope, undefined);
  }
});

for (const [what, body] of unusable) {
  test(`refuses a response: ${what}`, () => {
    assert.throws(() => read(body), failsWith('ERR_STS_RESPONSE_INVALID', /"main"/));
  });
}

test('refuses a token that is longer than 32 KiB', () => {
  const longest = 'x'.repeat(32 * 1024);
  assert.equal(read({ ...GOOD, access_token: longest }).accessToken, longest);
  assert.throws(
    () => read({ ...GOOD, access_token: `${longest}x` }),
    failsWith('ERR_STS_RESPONSE_INVALID', /its "access_token" is longer than 32768 characters/),
  );
});

test('compares no token that is longer than 32 KiB with the values of its request', () => {
  let compared = 0;
  const secret = {
    name: 'subject_token',
    isCredential: true,
    get value() {
      compared += 1;
      return 'the-token-of-the-caller';
    },
  };
  read(GOOD, { sent: [secret] });
  assert.ok(compared > 0);
  compared = 0;
  const access_token = 'x+/'.repeat(256 * 1024);
  assert.throws(() => read({ ...GOOD, access_token }, { sent: [secret] }), failsWith('ERR_STS_RESPONSE_INVALID'));
  assert.equal(compared, 0);
});

for (const status of [201, 204, 301, 302, 307, 304]) {
  test(`refuses a response with status ${status}`, () => {
    assert.throws(() => read(GOOD, { status }), failsWith('ERR_STS_RESPONSE_INVALID', new RegExp(`${status}`)));
  });
}

for (const status of [408, 429, 500, 502, 503, 504, 599]) {
  test(`treats status ${status} as a fault of the server, whatever the body contains`, () => {
    assert.throws(() => read({ error: 'invalid_grant' }, { status }), failsWith('ERR_STS_UNAVAILABLE'));
  });
}

for (const status of [400, 401, 403, 404]) {
  for (const text of ['', '<html>', '{}', '[]', '{"error":""}', '{"message":"Forbidden"}']) {
    test(`treats status ${status} with the body ${JSON.stringify(text)} as a response of no authorization server`, () => {
      assert.throws(() => read(text, { status }), failsWith('ERR_STS_RESPONSE_INVALID', /"main" returned status 4/));
    });
  }
}

test('any response is a token for a header, or a CambistError', () => {
  const field = fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.constantFrom('Bearer', 'a.b.c', '$T', '$S'));
  const names = { access_token: field, token_type: field, expires_in: field, error: field };
  const fields = fc.record(names, { requiredKeys: [] }).map((value) => JSON.stringify(value));
  fc.assert(
    fc.property(fc.nat(255), fc.nat(255), fc.oneof(fc.string(), fc.json(), fields), (status, kind, text) => {
      fuzz(Buffer.concat([Buffer.of(status, kind), Buffer.from(text)]));
    }),
  );
});

const NOT_ACCEPTED = failsWith('ERR_STS_RESPONSE_INVALID', /"token_type" is not "/);

test('accepts a DPoP token only for a server with dpop: true', () => {
  const typeOf = (token_type: string, kind: ExpectedResponse['kind']) =>
    read({ ...GOOD, token_type }, { kind }).tokenType;
  for (const name of ['DPoP', 'dpop', 'DPOP']) {
    assert.equal(typeOf(name, 'bearer_or_dpop'), 'DPoP');
    for (const kind of ['bearer', 'assertion'] as const) assert.throws(() => typeOf(name, kind), NOT_ACCEPTED);
  }
  assert.equal(typeOf('Bearer', 'bearer_or_dpop'), 'Bearer');
});

test('accepts token_type N_A, and only the requested type, for an assertion alone', () => {
  const readAs = (kind: ExpectedResponse['kind'], fields: object = {}) =>
    read({ ...GOOD, token_type: 'N_A', issued_token_type: ID_JAG, ...fields }, { kind, requestedTokenType: ID_JAG });
  for (const token_type of ['N_A', 'n_a']) assert.equal(readAs('assertion', { token_type }).tokenType, 'N_A');
  assert.equal(readAs('assertion', { token_type: 'Bearer' }).tokenType, 'Bearer');
  for (const kind of ['bearer', 'bearer_or_dpop'] as const) assert.throws(() => readAs(kind), NOT_ACCEPTED);
  assert.equal(readAs('assertion', { issued_token_type: undefined }).accessToken, 'issued');
  for (const issued_token_type of [ACCESS_TOKEN, JWT, ID_TOKEN, 7]) {
    assert.throws(
      () => readAs('assertion', { issued_token_type }),
      failsWith('ERR_STS_RESPONSE_INVALID', /"issued_token_type" was not requested/),
    );
  }
});

test('recognizes a request for a nonce', () => {
  const useNonce = JSON.stringify({ error: 'use_dpop_nonce' });
  const cases: [status: number, text: string, asks: boolean][] = [
    [400, useNonce, true],
    [401, useNonce, true],
    [200, useNonce, false],
    [500, useNonce, false],
    [400, JSON.stringify({ error: 'invalid_dpop_proof' }), false],
    [400, 'use_dpop_nonce', false],
  ];
  for (const [status, text, asks] of cases) {
    assert.equal(asksForNonce({ status, retryAfter: undefined, text }), asks, `${status} ${text}`);
  }
});

const refusals: [status: number, error: string, description: string | undefined, code: ErrorCode][] = [
  [400, 'invalid_grant', undefined, 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_token', 'Invalid token', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', undefined, 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'Invalid token', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'subject_token is expired', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'The Assertion is bad', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'Invalid token type, must be access token', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_request', 'Parameter "foo" is missing', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'client_assertion has expired', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'the actor token is not valid', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'actor_token_type is missing', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'requested_token_type unsupported', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'subject_token_type unsupported', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'Standard token exchange is not enabled for the client', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'Requested audience not available: docs', 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_request', "client 'a:b:c' is not authorized to get token with aud=a:b:d", 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_request', 'token exchange audience a:b:d is invalid', 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_request', 'token verification failed: JWT+aud+claim+has+value+%5Bx%5D', 'ERR_CLIENT_REFUSED'],
  [400, 'invalid_request', 'invalid subject_token: token verification failed: Expired', 'ERR_SUBJECT_TOKEN_INVALID'],
  [400, 'invalid_client', 'Audience not found', 'ERR_EXCHANGE_REFUSED'],
  [401, 'invalid_client', 'Invalid client or Invalid client credentials', 'ERR_CLIENT_REFUSED'],
  [400, 'unauthorized_client', undefined, 'ERR_CLIENT_REFUSED'],
  [403, 'something_else', undefined, 'ERR_CLIENT_REFUSED'],
  [400, 'temporarily_unavailable', undefined, 'ERR_STS_UNAVAILABLE'],
  [400, 'server_error', undefined, 'ERR_STS_UNAVAILABLE'],
  [400, 'invalid_target', undefined, 'ERR_EXCHANGE_REFUSED'],
  [400, 'invalid_scope', undefined, 'ERR_EXCHANGE_REFUSED'],
  [403, 'access_denied', 'Client is not within the token audience', 'ERR_EXCHANGE_REFUSED'],
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

test('ignores claims that are too long for a header, and those of another error', () => {
  const tooLong = { error: 'interaction_required', claims: 'x'.repeat(4097) };
  for (const body of [tooLong, { error: 'invalid_grant', claims: '{}' }]) {
    const { code, claims } = errorOf(() => read(body, { status: 400 }));
    assert.deepEqual([code, claims], ['ERR_SUBJECT_TOKEN_INVALID', undefined]);
  }
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

const KNOWN = { finding: 'client_refused', cause: 'the client is refused', fix: 'compare the secret' };
const failure = () => new CambistError('ERR_CLIENT_REFUSED', 'refused');
const load = async () => 'catalogue';

test('adds the diagnosis of the catalogue to an error, once', async () => {
  const error = failure();
  await addDiagnosis(error, load, (catalogue) => ({ ...KNOWN, cause: catalogue }));
  await addDiagnosis(error, load, () => KNOWN);
  assert.equal(error.diagnosis?.cause, 'catalogue');
});

test('leaves the error as it is if nothing can explain it', async () => {
  const error = failure();
  const known = () => KNOWN;
  const broken = () => {
    throw new TypeError('a bug');
  };
  const absent = () => Promise.reject(new Error('no such file'));
  await addDiagnosis(error, load, broken);
  await addDiagnosis(error, absent, known);
  await addDiagnosis(error, undefined, known);
  await addDiagnosis(error, load, () => undefined);
  assert.equal(error.diagnosis, undefined);
  const other = new Error('not of cambist');
  await addDiagnosis(other, load, known);
  assert.deepEqual(Object.keys(other), []);
});
