import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeError, ERROR_CODES } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { asCambistError, errorResponse } from '../../../src/proxy/own-response.ts';

const SECRET_TEXT = 'connect ECONNREFUSED 10.0.0.7:443 with token abc.def.ghi';

test('returns exactly the six fields of the code and nothing of message or cause', () => {
  for (const code of ERROR_CODES) {
    const error = new CambistError(code, SECRET_TEXT, { cause: new Error(SECRET_TEXT), oauthError: SECRET_TEXT });
    const { status, reason, headers, body } = errorResponse(error, 'request-1');
    const { title, detail } = describeError(code);
    assert.equal(status, describeError(code).status);
    assert.match(reason ?? '', new RegExp(`^[A-Z][A-Za-z -]+ \\(${code}\\)$`));
    assert.deepEqual(JSON.parse(body), {
      type: `urn:cambist:error:${code}`,
      title,
      status,
      detail,
      code,
      request_id: 'request-1',
    });
    assert.equal(headers['content-type'], 'application/problem+json');
    assert.equal(headers['x-request-id'], 'request-1');
    assert.ok(!JSON.stringify(headers).includes('ECONNREFUSED'));
  }
});

test('never uses 404 or 405, which have other meanings for MCP clients, and 400 as MCP defines it', () => {
  const codes = ERROR_CODES.filter((code) => [400, 404, 405].includes(describeError(code).status));
  assert.deepEqual(codes, ['ERR_HEADER_MISMATCH']);
});

test('sends a challenge with every 401 and with no other status', () => {
  for (const code of ERROR_CODES) {
    const { status, headers } = errorResponse(new CambistError(code, ''), 'r');
    assert.equal('www-authenticate' in headers, status === 401, code);
  }
});

test('names the fault of the token in the challenge', () => {
  const challengeOf = (code: 'ERR_SUBJECT_TOKEN_MISSING' | 'ERR_SUBJECT_TOKEN_INVALID' | 'ERR_INTERACTION_REQUIRED') =>
    errorResponse(new CambistError(code, '', { claims: '{"access_token":{"acr":"2\u20ac"}}' }), 'r').headers[
      'www-authenticate'
    ];
  assert.equal(challengeOf('ERR_SUBJECT_TOKEN_MISSING'), 'Bearer realm="cambist"');
  assert.equal(challengeOf('ERR_SUBJECT_TOKEN_INVALID'), 'Bearer error="invalid_token"');
  const interaction = challengeOf('ERR_INTERACTION_REQUIRED') ?? '';
  const claims = /^Bearer error="insufficient_claims", claims="([A-Za-z0-9+/=]+)"$/.exec(interaction)?.[1] ?? '';
  assert.equal(Buffer.from(claims, 'base64').toString(), '{"access_token":{"acr":"2\u20ac"}}');
});

test('says in the challenge and in the error that the token is expired', () => {
  const { headers, body } = errorResponse(new CambistError('ERR_SUBJECT_TOKEN_INVALID', '', { expired: true }), 'r');
  const challenge = 'Bearer error="invalid_token", error_description="The access token expired"';
  assert.equal(headers['www-authenticate'], challenge);
  assert.equal(JSON.parse(body).detail, "The caller's token is expired: obtain a new one.");
});

test('names the scope and the metadata in the challenge', () => {
  const resourceMetadata = 'http://127.0.0.1:8180/.well-known/oauth-protected-resource/github';
  const scope = 'openid api://cambist/.default';
  for (const [code, wanted, challenge] of [
    ['ERR_SUBJECT_TOKEN_MISSING', { resourceMetadata }, `Bearer resource_metadata="${resourceMetadata}"`],
    ['ERR_SUBJECT_TOKEN_MISSING', { scope }, `Bearer scope="${scope}"`],
    [
      'ERR_SUBJECT_TOKEN_INVALID',
      { scope, resourceMetadata },
      `Bearer error="invalid_token", scope="${scope}", resource_metadata="${resourceMetadata}"`,
    ],
  ] as const) {
    assert.equal(errorResponse(new CambistError(code, ''), 'r', wanted).headers['www-authenticate'], challenge);
  }
});

test('sends Retry-After with every 503 and with no other status', () => {
  for (const code of ERROR_CODES) {
    const { status, headers } = errorResponse(new CambistError(code, ''), 'r');
    if (status === 503) assert.match(headers['retry-after'] ?? '', /^[1-9]\d*$/, code);
    else assert.ok(!('retry-after' in headers), code);
  }
  const error = new CambistError('ERR_STS_UNAVAILABLE', '', { retryAfterSeconds: 17 });
  assert.equal(errorResponse(error, 'r').headers['retry-after'], '17');
});

test('keeps a CambistError, also as the cause of another error', () => {
  const error = new CambistError('ERR_UPSTREAM_TLS', 'x');
  assert.equal(asCambistError(error), error);
  assert.equal(asCambistError(new Error('wrapped', { cause: error })), error);
});

test('turns any other error into ERR_INTERNAL and keeps its cause for the log', () => {
  for (const thrown of [new TypeError('x'), 'text', undefined, null, { code: 'ERR_UPSTREAM_TLS' }]) {
    const error = asCambistError(thrown);
    assert.equal(error.code, 'ERR_INTERNAL');
    assert.equal(error.cause, thrown);
  }
});
