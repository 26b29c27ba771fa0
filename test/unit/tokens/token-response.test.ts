import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { asksForNonce, type ExpectedResponse, processTokenResponse } from '../../../src/tokens/token-response.ts';
import { fuzz } from '../../fuzz/targets/token-response.ts';
import { read } from './read-response.ts';
import { ACCESS_TOKEN, expectedResponse, failsWith, JWT } from './sample.ts';

const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const GOOD = { access_token: 'issued', issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: 300 };

const { issued_token_type: _type, ...WITHOUT_TYPE } = GOOD;
const { expires_in: _life, ...WITHOUT_LIFE } = GOOD;

const usable: [what: string, body: object, life: number | undefined, requested?: string][] = [
  ['by the RFC', GOOD, 300],
  ['token_type in lower case', { ...GOOD, token_type: 'bearer' }, 300],
  ['token_type in capitals', { ...GOOD, token_type: 'BEARER' }, 300],
  ['no issued_token_type (Entra, LemonLDAP::NG)', WITHOUT_TYPE, 300],
  ['issued_token_type jwt', { ...GOOD, issued_token_type: JWT }, 300],
  ['the requested type', { ...GOOD, issued_token_type: 'urn:x' }, 300, 'urn:x'],
  ['a refresh token and an id token beside it', { ...GOOD, refresh_token: 'r', id_token: 'i', scope: 's' }, 300],
  ['expires_in as a string', { ...GOOD, expires_in: '300' }, 300],
  ['expires_in as a string with a fraction', { ...GOOD, expires_in: '299.5' }, 299.5],
  ['expires_in 0', { ...GOOD, expires_in: 0 }, 0],
  ['expires_in negative', { ...GOOD, expires_in: -5 }, -5],
  ['expires_in negative, as a string', { ...GOOD, expires_in: '-5' }, -5],
  ['expires_in null', { ...GOOD, expires_in: null }, undefined],
  ['no expires_in', WITHOUT_LIFE, undefined],
];

const unusable: [what: string, body: unknown][] = [
  ['an empty access_token (zitadel/oidc)', { ...GOOD, access_token: '' }],
  ['no access_token', { token_type: 'Bearer' }],
  ['access_token null', { ...GOOD, access_token: null }],
  ['an access_token that is an object', { ...GOOD, access_token: { value: 'x' } }],
  ['an access_token with a line end', { ...GOOD, access_token: 'a\r\nx-evil: 1' }],
  ['an access_token with a space', { ...GOOD, access_token: 'a b' }],
  ['an access_token beyond ASCII', { ...GOOD, access_token: 'tökén' }],
  ['no token_type', { access_token: 'issued' }],
  ['token_type N_A, which has no Authorization header', { ...GOOD, token_type: 'N_A' }],
  ['token_type DPoP, which was not requested', { ...GOOD, token_type: 'DPoP' }],
  ['token_type that is a list', { ...GOOD, token_type: ['Bearer'] }],
  ['an id token', { ...GOOD, issued_token_type: ID_TOKEN }],
  ['a refresh token', { ...GOOD, issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
  ['issued_token_type that is a number', { ...GOOD, issued_token_type: 7 }],
  ['expires_in that is a word', { ...GOOD, expires_in: 'soon' }],
  ['expires_in empty', { ...GOOD, expires_in: '' }],
  ['expires_in true', { ...GOOD, expires_in: true }],
  ['expires_in that is infinite', '{"access_token":"issued","token_type":"Bearer","expires_in":1e999}'],
  ['HTML (LemonLDAP::NG)', '<!doctype html><title>Sign in</title>'],
  ['an empty body', ''],
  ['a list', [GOOD]],
  ['null', 'null'],
  ['a string', '"issued"'],
  ['truncated JSON', '{"access_token":"iss'],
];

const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';

function readAs(kind: ExpectedResponse['kind'], body: object, requestedTokenType?: string) {
  const response = { status: 200, retryAfter: undefined, text: JSON.stringify(body) };
  return processTokenResponse(response, expectedResponse({ kind, requestedTokenType }), 0);
}

for (const [what, body, life, requested] of usable) {
  test(`accepts a response: ${what}`, () => {
    const token = read(body, requested === undefined ? {} : { requested });
    const { accessToken, tokenType, expiresInSeconds } = token;
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

test('accepts a DPoP token only for a server with dpop: true', () => {
  for (const name of ['DPoP', 'dpop', 'DPOP']) {
    const body = { ...GOOD, token_type: name };
    assert.equal(readAs('bearer_or_dpop', body).tokenType, 'DPoP');
    for (const kind of ['bearer', 'assertion'] as const) {
      assert.throws(() => readAs(kind, body), failsWith('ERR_STS_RESPONSE_INVALID', /"token_type" is not "/));
    }
  }
  assert.equal(readAs('bearer_or_dpop', GOOD).tokenType, 'Bearer');
});

test('accepts token_type N_A only for an assertion', () => {
  const body = { access_token: 'id.jag.x', issued_token_type: ID_JAG, token_type: 'N_A', expires_in: 300 };
  const { accessToken, tokenType, expiresInSeconds } = readAs('assertion', body, ID_JAG);
  assert.deepEqual([accessToken, tokenType, expiresInSeconds], ['id.jag.x', 'N_A', 300]);
  assert.equal(readAs('assertion', { ...body, token_type: 'n_a' }, ID_JAG).tokenType, 'N_A');
  assert.equal(readAs('assertion', { ...body, token_type: 'Bearer' }, ID_JAG).tokenType, 'Bearer');
  for (const kind of ['bearer', 'bearer_or_dpop'] as const) {
    assert.throws(() => readAs(kind, body, ID_JAG), failsWith('ERR_STS_RESPONSE_INVALID'));
  }
});

test('refuses an assertion of another type than the requested one', () => {
  const body = { access_token: 'a', token_type: 'N_A' };
  assert.equal(readAs('assertion', body, ID_JAG).accessToken, 'a');
  for (const issued_token_type of [ACCESS_TOKEN, JWT, ID_TOKEN, 7]) {
    assert.throws(
      () => readAs('assertion', { ...body, issued_token_type }, ID_JAG),
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
