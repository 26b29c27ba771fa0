import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callerHeaders } from '../../../src/proxy/response-headers.ts';

const came = (...raw: string[]): string[] => callerHeaders(raw, (_, value) => value);

test('keeps order, letter case, duplicates and bytes beyond ASCII', () => {
  const raw = ['Content-Type', 'a/b', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'X-Name', 'caf\u00e9', 'X-Empty', ''];
  assert.deepEqual(came(...raw), raw);
});

test('drops hop-by-hop headers', () => {
  const raw = ['Connection', 'keep-alive', 'Keep-Alive', 'timeout=5', 'Transfer-Encoding', 'chunked', 'Upgrade', 'h2c'];
  assert.deepEqual(came(...raw, 'Trailer', 'x', 'Proxy-Authenticate', 'Basic', 'X-Kept', 'k'), ['X-Kept', 'k']);
});

test('drops headers that Connection lists, before and after it', () => {
  assert.deepEqual(came('X-Hop', '1', 'connection', 'x-hop, X-Other', 'X-Other', '2', 'X-Kept', 'k'), ['X-Kept', 'k']);
  assert.deepEqual(came('Connection', 'x-hop', 'Connection', 'close', 'X-Hop', '1'), []);
});

test('keeps Content-Length even if Connection lists it', () => {
  assert.deepEqual(came('Connection', 'content-length', 'Content-Length', '5'), ['Content-Length', '5']);
});

test('returns no headers for a response without headers', () => {
  assert.deepEqual(came(), []);
});
