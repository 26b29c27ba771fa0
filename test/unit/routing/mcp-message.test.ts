import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeName, headerDisagreement, readMcpMessage } from '../../../src/routing/mcp-message.ts';
import { fuzz } from '../../fuzz/targets/mcp-message.ts';

const read = (text: string) => readMcpMessage(Buffer.from(text));
const message = (method: string | undefined, name?: string, isRequest = false) => ({
  message: { method, name },
  isRequest,
});

test('reads the method of a message and the name of its tool, prompt, resource or task', () => {
  for (const [params, method, name] of [
    [{ name: 'delete_repo', arguments: { name: 'other' } }, 'tools/call', 'delete_repo'],
    [{ name: 'greet' }, 'prompts/get', 'greet'],
    [{ uri: 'file:///ä' }, 'resources/read', 'file:///ä'],
    [{ taskId: 't-1' }, 'tasks/get', 't-1'],
    [{ taskId: 't-1' }, 'tasks/result', 't-1'],
    [{ taskId: 't-1' }, 'tasks/list', undefined],
    [{ name: 'x', uri: 'y' }, 'tools/list', undefined],
    [{ uri: 'y' }, 'tools/call', undefined],
    [undefined, 'ping', undefined],
    [['delete_repo'], 'tools/call', undefined],
  ] as const) {
    assert.deepEqual(read(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })), message(method, name, true));
  }
});

test('reads neither from a response to the server', () => {
  assert.deepEqual(read('{"jsonrpc":"2.0","id":1,"result":{"method":"tools/call"}}'), message(undefined));
});

test('refuses a body that is not exactly one message and says why', () => {
  for (const [text, why] of [
    ['{', /not valid JSON/],
    ['\ufeff{}', /not valid JSON/],
    ['null', /not a JSON-RPC message/],
    ['"tools/call"', /not a JSON-RPC message/],
    ['[{"method":"ping"}]', /batch/],
    ['{"method":1}', /method of its message is not a string/],
    ['{"method":"tools/call","params":{"name":["delete_repo"]}}', /"name" of its message/],
  ] as const) {
    const reading = read(text);
    assert.ok('wrong' in reading && why.test(reading.wrong), text);
  }
  assert.ok('wrong' in readMcpMessage(Buffer.from('{"method":"\xe4"}', 'latin1')), 'not UTF-8');
  assert.ok('wrong' in readMcpMessage(Buffer.from('{"method":"ping"}', 'utf16le')), 'UTF-16');
});

test('refuses a key that two parsers may read differently: duplicate, escaped, padded or in another case', () => {
  for (const text of [
    '{"method":"tools/list","method":"tools/call"}',
    '{"method":"tools/list","m\\u0065thod":"tools/call"}',
    '{"method":"tools/list","Method":"tools/call"}',
    '{"method":"tools/call","params":{"name":"read"},"params":{"name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read"},"param\u017f":{"name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read","name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read","arguments":{"a":[{"}":"{"}]},"NAME":"delete"}}',
    '{"method":"resources/read","params":{"uri":"a","URI":"b"}}',
    '{"METHOD":"tools/call"}',
    '{"method":"tools/list","method\\u0000x":"tools/call"}',
    '{"method ":"tools/call"}',
    '{" method":"tools/call"}',
    '{"method\\t":"tools/call"}',
    '{"me\\u200bthod":"tools/call"}',
    '{"\\ufeffmethod":"tools/call"}',
    '{"\uff4dethod":"tools/call"}',
    '{"method":"tools/call","params":{"name":"read","name\u00a0":"delete"}}',
    '{"method":"tools/call","params":{"name":"read","N\u1d43me ":"delete"}}',
    '{"method":"tasks/get","params":{"taskId":"a","taskid\\u0000":"b"}}',
  ]) {
    assert.ok('wrong' in read(text), text);
  }
});

test('refuses a method beyond ASCII', () => {
  for (const method of ['tools/ｃall', 'tools\u200b/call', 'tools/call\ud800'])
    assert.ok('wrong' in read(JSON.stringify({ method, params: { name: 'read' } })), method);
});

test('refuses a method or name that a server may trim or cut off', () => {
  for (const pad of ['\0', '\0x', ' ', '\t', '\n', '\u00a0', '\u0085']) {
    for (const [method, name] of [
      [`tools/call${pad}`, 'read'],
      ['tools/call', `read${pad}`],
      ['tools/call', `${pad}read`],
    ]) {
      const reading = read(JSON.stringify({ method, params: { name } }));
      assert.ok(
        'wrong' in reading && /has control characters, or white space/.test(reading.wrong),
        `${method} ${name}`,
      );
    }
  }
  assert.deepEqual(read('{"method":"tools/call","params":{"name":"read a b"}}'), message('tools/call', 'read a b'));
});

test('refuses a message with more than 1000 keys', () => {
  const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, index]));
  const text = (own: number, ofParams: number) =>
    JSON.stringify({ method: 'tools/call', ...keys(own), params: { name: 'read', ...keys(ofParams) } });
  assert.deepEqual(read(text(0, 997)), message('tools/call', 'read'));
  for (const [own, ofParams] of [
    [0, 998],
    [998, 0],
    [500, 500],
  ] as const) {
    const reading = read(text(own, ofParams));
    assert.ok('wrong' in reading && /more than 1000 keys/.test(reading.wrong));
  }
});

test('normalizes no text that is longer than a routing key can be', (t) => {
  const normalize = t.mock.method(String.prototype, 'normalize');
  const marks = '\u0301'.repeat(20_000) + '\u0316'.repeat(20_000);
  const hidden = `n${'\u200b'.repeat(20_000)}ａme`;
  assert.deepEqual(read(`{"method":"ping","a${marks}":1}`), message('ping', undefined));
  assert.ok('wrong' in read(`{"method":"tools/call","params":{"name":"read","${hidden}":1}}`));
  const lengths = normalize.mock.calls.map((call) => String(call.this).length);
  assert.ok(lengths.length > 0 && Math.max(...lengths) <= 12);
});

test('accepts any other key, and any key of a nested object', () => {
  for (const text of [
    '{"id":1,"id":2,"method":"tools/call","params":{"name":"read"}}',
    '{"method":"tools/call","params":{"name":"read","_meta":{"name":"x","name":"y","Method":1}}}',
    '{"method":"tools/call","params":{"arguments":{"method":1,"method":2,"s":"\\"}{"},"name":"read"},"x":[{"method":1}]}',
    ' { "x" : "a,b:{" , "method" : "tools/call" , "params" : { "n" : [ 1 , { "name" : 2 } ] , "name" : "read" } } ',
  ]) {
    assert.deepEqual(read(text), message('tools/call', 'read', text.startsWith('{"id"')), text);
  }
});

test('reads every JSON text as JSON.parse does, or refuses it', () => {
  const key = fc.constantFrom('method', 'params', 'name', 'x', 'Name', '"', '\\', '{', '');
  const tree = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, fc.string(), fc.integer(), fc.constant(null), tie('list'), tie('map')),
    list: fc.array(tie('value'), { maxLength: 3 }),
    map: fc.dictionary(key, tie('value'), { maxKeys: 4 }),
  })).map;
  fc.assert(
    fc.property(tree, fc.boolean(), (value, spaced) => fuzz(Buffer.from(JSON.stringify(value, null, spaced ? 1 : 0)))),
    { numRuns: 2000 },
  );
});

interface Headers {
  version?: string;
  methods?: readonly string[];
  names?: readonly string[];
}

/** Compares headers with a request, or with a notification. */
function compare(method: string | undefined, name: string | undefined, headers: Headers, isRequest = true) {
  const { version, methods = [], names = [] } = headers;
  return headerDisagreement(message(method, name, isRequest), {
    versions: version === undefined ? [] : [version],
    methods,
    names,
  });
}

test('accepts headers that agree with the message, and missing ones', () => {
  const name = 'löschen';
  const encoded = `=?base64?${Buffer.from(name).toString('base64')}?=`;
  const plain = Buffer.from(name).toString('latin1');
  for (const headers of [{}, { methods: [' tools/call\t'], names: [encoded] }, { names: [plain] }] as Headers[]) {
    assert.equal(compare('tools/call', name, headers), undefined);
  }
  assert.equal(compare('ping', undefined, { methods: ['ping'] }), undefined);
});

test('reports a header that disagrees with the message', () => {
  for (const headers of [
    { methods: ['tools/list'] },
    { methods: ['Tools/Call'] },
    { methods: ['tools/call', 'tools/call'] },
    { methods: [''] },
    { names: ['delete'] },
    { names: ['read', 'read'] },
  ] as Headers[]) {
    assert.match(compare('tools/call', 'read', headers) ?? '', /Mcp-/);
  }
  assert.match(compare('ping', undefined, { names: ['x'] }) ?? '', /Mcp-Name/);
  assert.match(compare(undefined, undefined, { methods: ['ping'] }) ?? '', /Mcp-Method/);
});

test('requires both headers in requests of revision 2026-07-28 and later', () => {
  for (const version of ['2026-07-28', ' 2026-07-28 ', '2027-01-01']) {
    const methods = ['tools/call'];
    assert.match(compare('tools/call', 'read', { version, names: ['read'] }) ?? '', /has no Mcp-Method/);
    assert.match(compare('tools/call', 'read', { version, methods }) ?? '', /has no Mcp-Name/);
    assert.equal(compare('tools/call', 'read', { version, methods, names: ['read'] }), undefined);
    assert.match(compare('server/discover', undefined, { version }) ?? '', /has no Mcp-Method/);
    assert.equal(compare('server/discover', undefined, { version, methods: ['server/discover'] }), undefined);
    assert.match(compare('tasks/get', 't-1', { version, methods: ['tasks/get'] }) ?? '', /has no Mcp-Name/);
    assert.equal(compare('tasks/result', 't-1', { version, methods: ['tasks/result'] }), undefined);
    assert.equal(compare('notifications/cancelled', undefined, { version }, false), undefined);
    assert.equal(compare(undefined, undefined, { version }, false), undefined);
  }
});

test('requires neither header in earlier revisions, and without a revision', () => {
  for (const version of [undefined, '2025-11-25', '', 'latest', '2026-07-28x']) {
    assert.equal(compare('tools/call', 'read', version === undefined ? {} : { version }), undefined);
  }
});

test('decodes a name that has the Base64 form of the protocol and leaves every other name', () => {
  assert.equal(decodeName('=?base64?cmVhZA==?='), 'read');
  assert.equal(decodeName('=?base64??='), '');
  for (const plain of ['read', '=?base64?cmVhZA?=', '=?BASE64?cmVhZA==?=', '=?base64?cm Vh?=', '=?base64?cmVhZA==']) {
    assert.equal(decodeName(plain), plain);
  }
});
