import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readMcpCall } from '../../../src/proxy/mcp-call.ts';
import { wholeBody } from '../../../src/proxy/request-body.ts';

const CREDENTIALS = new Set(['authorization']);

function callOf(body: unknown, headers: Readonly<Record<string, string>> = {}, method = 'POST') {
  const content = typeof body === 'string' ? body : JSON.stringify(body);
  return readMcpCall(
    { method, rawHeaders: Object.entries(headers).flat() },
    body === undefined ? undefined : wholeBody(Buffer.from(content)),
    CREDENTIALS,
  );
}

const message = (method: string, params: object) => ({ jsonrpc: '2.0', id: 1, method, params });

test('names the tool, prompt, task or resource of a message, shortened and without query, fragment and user', () => {
  const uri = 'https://alice:pw@files.example.com/report?token=x#part';
  for (const [method, params, name] of [
    ['tools/call', { name: 'search', arguments: { q: 'secret' } }, 'search'],
    ['prompts/get', { name: 'summary' }, 'summary'],
    ['tasks/get', { taskId: 't-1' }, 't-1'],
    ['resources/read', { uri }, 'https://files.example.com/report'],
  ] as const) {
    assert.deepEqual(callOf(message(method, params)), { from: 'body', method, name });
  }
  assert.deepEqual(callOf(message('ping', {})), { from: 'body', method: 'ping' });
  assert.equal(callOf(message('tools/call', { name: 'n'.repeat(1000) }))?.name?.length, 257);
});

test('knows no message in other bodies and methods', () => {
  for (const body of [{ method: 'password', params: { name: 'hunter2' } }, 'plain text', '', undefined]) {
    assert.equal(callOf(body), undefined);
  }
  assert.equal(callOf(message('tools/call', { name: 'x' }), {}, 'PUT'), undefined);
});

test('finds a message whose member names are escaped', () => {
  const escaped = '{"\\u006asonrpc":"2.0","method":"tools/call","params":{"name":"drop"}}';
  assert.equal(callOf(escaped)?.name, 'drop');
});

test('withholds a name that repeats a credential or looks like a token', () => {
  const authorization = 'Bearer opaque-credential-of-alice';
  const token = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.';
  const encodings = [token.replace('e', '%65'), token.replace('e', '%2565'), btoa(`x:${token}`)];
  for (const name of [
    'opaque-credential-of-alice',
    'x opaque-credential-of-alice y',
    token,
    ...encodings,
    'opaque%2Dcredential-of-alice',
  ]) {
    assert.deepEqual(callOf(message('tools/call', { name }), { authorization }), { from: 'body', withheld: true });
    assert.deepEqual(callOf(undefined, { authorization, 'mcp-name': name }), { from: 'header', withheld: true });
  }
});

test('says that a compressed body is unread', () => {
  const compressed = { 'content-encoding': 'gzip' };
  assert.deepEqual(callOf(message('tools/call', { name: 'x' }), compressed), { from: 'unread' });
  assert.deepEqual(callOf('', { ...compressed, 'mcp-method': 'ping' }), { from: 'header', method: 'ping' });
});

test('says why a message with duplicate keys cannot be read', () => {
  const doubled = '{"jsonrpc":"2.0","method":"ping","method":"tools/call"}';
  assert.match(callOf(doubled)?.problem ?? '', /has a key twice/);
});

test('notices headers that name another message than the body', () => {
  const body = message('tools/call', { name: 'search' });
  const of = (headers: Record<string, string>) => callOf(body, headers)?.disagrees;
  assert.equal(of({ 'mcp-method': 'tools/call', 'mcp-name': 'search' }), undefined);
  assert.equal(of({ 'mcp-method': 'tools/call' }), undefined);
  assert.equal(of({ 'mcp-name': 'other' }), true);
  assert.equal(of({ 'mcp-method': 'tools/list' }), true);
});

test('reads the first 32 messages of a batch', () => {
  const { batch } = callOf(Array.from({ length: 40 }, () => message('ping', {}))) ?? {};
  assert.equal(batch?.length, 32);
});

test('reads a batch whose messages nest too deeply to be written again', () => {
  const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
  const body = `[{"jsonrpc":"2.0","method":"ping","params":${deep}},{"jsonrpc":"2.0","method":"ping"}]`;
  assert.deepEqual(callOf(body)?.batch, [{}, { method: 'ping' }]);
});

test('reads any body without an error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      callOf(`{"jsonrpc":"2.0",${text}`);
      callOf(`[${text},{"jsonrpc":"2.0"}]`);
    }),
  );
});
