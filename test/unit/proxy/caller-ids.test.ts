import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  callerRequestId,
  callerTraceContext,
  callerTraceId,
  containsToken,
  headerTokens,
  MAX_TOKENS,
  sharesText,
} from '../../../src/proxy/caller-tokens.ts';
import { words } from '../../harness/words.ts';

const CREDENTIALS = new Set(['authorization', 'x-user-token']);
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;

const requestId = (...raw: string[]) => callerRequestId(raw, CREDENTIALS);
const traceId = (...raw: string[]) => callerTraceId(raw, CREDENTIALS);
const context = (...raw: string[]) => callerTraceContext(raw, CREDENTIALS);

test('keeps a request id of 1 to 64 letters, digits and ". _ : -", and drops others and repeated ones', () => {
  for (const id of ['1', 'r-1', 'A.b_c:d-9', '5f2b8f3e-3f3c-4a6e-9d4e-0d5c8a7b1c2d', 'x'.repeat(64)]) {
    assert.equal(requestId('X-Request-Id', id), id);
  }
  for (const id of ['', ' ', 'a b', 'a"b', 'ä', 'a,b', 'x'.repeat(65)]) {
    assert.equal(requestId('X-Request-Id', id), undefined, id);
  }
  assert.equal(requestId('x-request-id', 'a', 'x-request-id', 'a'), undefined);
  assert.equal(requestId(), undefined);
});

test('drops a request id that looks like a JWT or a part of one', () => {
  const header = Buffer.from('{"alg":"none"}').toString('base64url');
  const spaced = Buffer.from('{ "alg": "none" }').toString('base64url');
  const claims = Buffer.from('{"sub":"alice"}').toString('base64url');
  for (const id of [`${header}.${claims}.x`, `${spaced}.${claims}.`, `${header}.${claims}`, claims, `id-${header}`]) {
    assert.equal(requestId('x-request-id', id), undefined, id);
  }
});

test('drops a request id that repeats a credential, whatever the order and case of the headers', () => {
  const token = 'opaque-token-of-the-user';
  for (const name of words('Authorization X-User-Token Proxy-Authorization Cookie X-Api-Key Mcp-Session-Id')) {
    for (const value of [token, `Bearer ${token}`, `session=${token}; theme=dark`]) {
      for (const id of [token, token.slice(0, 12), token.slice(-12)]) {
        assert.equal(requestId(name, value, 'x-request-id', id), undefined, `${name}: ${value} and ${id}`);
        assert.equal(requestId('x-request-id', id, name, value), undefined, `${name}: ${value} and ${id}`);
      }
    }
  }
  for (const name of ['authorization', 'X-User-Token']) {
    assert.equal(requestId(name, `Bearer ${token}`, 'x-request-id', `id-${token}-1`), undefined, name);
  }
});

test('keeps a request id that other tracing headers repeat, and one too short to be a token', () => {
  for (const name of ['X-Correlation-Id', 'X-Trace-Id', 'X-Amzn-Trace-Id', 'b3', 'Idempotency-Key', 'Request-Id']) {
    assert.equal(requestId('x-request-id', TRACE_ID, name, `Root=${TRACE_ID}`), TRACE_ID, name);
  }
  assert.equal(requestId('x-request-id', '1234567', 'x-other', 'has 1234567 in it'), '1234567');
});

test('reads the trace id from one well-formed traceparent', () => {
  assert.equal(traceId('Traceparent', TRACEPARENT), TRACE_ID);
  assert.equal(traceId('traceparent', `cc-${TRACE_ID}-b7ad6b7169203331-01-later`), TRACE_ID);
  assert.equal(traceId('traceparent', TRACEPARENT, 'traceparent', TRACEPARENT), undefined);
  assert.equal(traceId('traceparent', TRACEPARENT.toUpperCase()), undefined);
  assert.equal(traceId(), undefined);
});

test('ignores a traceparent that W3C Trace Context calls invalid', () => {
  for (const value of [
    TRACEPARENT.replace(/^00/, 'ff'),
    TRACEPARENT.replace(TRACE_ID, '0'.repeat(32)),
    TRACEPARENT.replace('b7ad6b7169203331', '0'.repeat(16)),
    `${TRACEPARENT}-later`,
  ]) {
    assert.equal(traceId('traceparent', value), undefined, value);
    assert.deepEqual(context('traceparent', value, 'tracestate', 'a=1'), {}, value);
  }
});

test('ignores a trace or span id that repeats a credential', () => {
  for (const [name, value] of [
    ['authorization', `Bearer ${TRACE_ID}`],
    ['x-user-token', TRACE_ID],
    ['x-user-token', TRACE_ID.slice(3, 20)],
    ['x-api-key', TRACE_ID],
    ['authorization', `Bearer ${TRACEPARENT}`],
  ] as const) {
    assert.equal(traceId('traceparent', TRACEPARENT, name, value), undefined, `${name}: ${value}`);
    assert.deepEqual(context('traceparent', TRACEPARENT, name, value), {}, `${name}: ${value}`);
  }
  assert.deepEqual(context('traceparent', TRACEPARENT, 'x-user-token', 'b7ad6b7169203331'), {});
});

test('drops a tracestate that contains a credential and keeps the traceparent', () => {
  const token = 'opaque-token-of-the-user';
  const clean = { traceparent: TRACEPARENT, tracestate: 'a=1,b=2' };
  assert.deepEqual(context('traceparent', TRACEPARENT, 'tracestate', 'a=1', 'tracestate', 'b=2'), clean);
  for (const name of ['authorization', 'x-user-token', 'x-api-key']) {
    const raw = ['traceparent', TRACEPARENT, 'tracestate', `a=1,vendor=${token}`, name, token];
    assert.deepEqual(context(...raw), { traceparent: TRACEPARENT }, name);
  }
});

const NAMES = ['authorization', 'x-user-token'];

test('finds each token once, without its scheme, in headers of any letter case', () => {
  const raw = ['AUTHORIZATION', ' Bearer  token-one ', 'X-User-Token', 'token-two', 'authorization', 'DPoP token-one'];
  assert.deepEqual(headerTokens(raw, NAMES), ['token-one', 'token-two']);
});

test('ignores text of fewer than 8 characters and other headers', () => {
  assert.deepEqual(headerTokens(['authorization', 'Bearer 1234567', 'cookie', 'token-one'], NAMES), []);
});

test('stops at one token more than the limit, and then takes every text for a repeated token', () => {
  const raw = Array.from({ length: 5000 }, (_, index) => ['x-user-token', `token-${1000 + index}`]).flat();
  const tokens = headerTokens(raw, NAMES);
  assert.equal(tokens.length, MAX_TOKENS + 1);
  assert.ok(containsToken('', tokens) && sharesText('', tokens));
  const fewer = headerTokens(raw.slice(0, 2 * MAX_TOKENS), NAMES);
  assert.equal(fewer.length, MAX_TOKENS);
  assert.ok(!containsToken('', fewer) && !sharesText('', fewer));
});

test('finds a token in other text, plain, percent-encoded and base64-encoded', () => {
  for (const text of [
    ...['token+one', 'x=token+one;', 'token%2bone', 'token%252bone', 'x%20tok%65n%2Bone%', '%%74oken+one'],
    ...['', 'a', 'ab', 'abc'].map((before) => `Basic ${btoa(`${before}token+one:x`)}`),
  ]) {
    assert.ok(containsToken(text, ['other-token', 'token+one']), text);
  }
  for (const text of ['', 'token one', 'TOKEN+ONE', 'token%25252bone'])
    assert.ok(!containsToken(text, ['token+one']), text);
});

test('compares text with tokens both ways, but no text of fewer than 8 characters with a part of one', () => {
  assert.ok(sharesText('id-token-one-1', ['token-one']));
  assert.ok(sharesText('ken-one-', ['token-one-and-more']));
  assert.ok(!sharesText('ken-one', ['token-one-and-more']));
});
