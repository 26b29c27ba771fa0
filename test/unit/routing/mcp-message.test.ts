import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeName, headerDisagreement, readMcpMessage } from '../../../src/routing/mcp-message.ts';

const read = (text: string) => readMcpMessage(Buffer.from(text));
const message = (method: string | undefined, name?: string) => ({ message: { method, name } });

test('the method of a message is read, and the name of what it is about', () => {
  for (const [params, method, name] of [
    [{ name: 'delete_repo', arguments: { name: 'other' } }, 'tools/call', 'delete_repo'],
    [{ name: 'greet' }, 'prompts/get', 'greet'],
    [{ uri: 'file:///ä' }, 'resources/read', 'file:///ä'],
    [{ taskId: 't-1' }, 'tasks/get', 't-1'],
    [{ name: 'x', uri: 'y' }, 'tools/list', undefined],
    [{ uri: 'y' }, 'tools/call', undefined],
    [undefined, 'ping', undefined],
    [['delete_repo'], 'tools/call', undefined],
  ] as const) {
    assert.deepEqual(read(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })), message(method, name));
  }
});

test('an answer to the server has neither', () => {
  assert.deepEqual(read('{"jsonrpc":"2.0","id":1,"result":{"method":"tools/call"}}'), message(undefined));
});

test('what is no message, or more than one, is refused with the reason', () => {
  for (const [text, why] of [
    ['', /no JSON/],
    ['{', /no JSON/],
    ['\ufeff{}', /no JSON/],
    ['null', /no JSON-RPC/],
    ['"tools/call"', /no JSON-RPC/],
    ['[{"method":"ping"}]', /batch/],
    ['[]', /batch/],
    ['{"method":1}', /method of its message is no string/],
    ['{"method":null}', /no string/],
    ['{"method":"tools/call","params":{"name":["delete_repo"]}}', /"name" of its message/],
  ] as const) {
    const reading = read(text);
    assert.ok('wrong' in reading && why.test(reading.wrong), text);
  }
  assert.ok('wrong' in readMcpMessage(Buffer.from('{"method":"\xe4"}', 'latin1')), 'not UTF-8');
  assert.ok('wrong' in readMcpMessage(Buffer.from('{"method":"ping"}', 'utf16le')), 'UTF-16');
});

test('a key that two parsers would read differently is refused: twice, escaped, or in another case', () => {
  for (const text of [
    '{"method":"tools/list","method":"tools/call"}',
    '{"method":"tools/list","m\\u0065thod":"tools/call"}',
    '{"method":"tools/list","Method":"tools/call"}',
    '{"method":"tools/call","params":{"name":"read"},"params":{"name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read"},"PARAMS":{"name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read"},"param\u017f":{"name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read","name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read","Name":"delete"}}',
    '{"method":"tools/call","params":{"name":"read","arguments":{"a":[{"}":"{"}]},"NAME":"delete"}}',
    '{"method":"resources/read","params":{"uri":"a","URI":"b"}}',
    '{"METHOD":"tools/call"}',
  ]) {
    assert.ok('wrong' in read(text), text);
  }
});

test('keys that choose no route may be as they like, and so may those deeper in', () => {
  for (const text of [
    '{"id":1,"id":2,"method":"tools/call","params":{"name":"read"}}',
    '{"method":"tools/call","params":{"name":"read","_meta":{"name":"x","name":"y","Method":1}}}',
    '{"method":"tools/call","params":{"arguments":{"method":1,"method":2,"s":"\\"}{"},"name":"read"},"x":[{"method":1}]}',
    ' { "x" : "a,b:{" , "method" : "tools/call" , "params" : { "n" : [ 1 , { "name" : 2 } ] , "name" : "read" } } ',
  ]) {
    assert.deepEqual(read(text), message('tools/call', 'read'), text);
  }
});

test('every JSON text is read as JSON.parse reads it, or refused', () => {
  const key = fc.constantFrom('method', 'params', 'name', 'x', 'Name', '"', '\\', '{', '');
  const tree = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, fc.string(), fc.integer(), fc.constant(null), tie('list'), tie('map')),
    list: fc.array(tie('value'), { maxLength: 3 }),
    map: fc.dictionary(key, tie('value'), { maxKeys: 4 }),
  })).map;
  fc.assert(
    fc.property(tree, fc.boolean(), (value, spaced) => {
      const reading = read(JSON.stringify(value, null, spaced ? 1 : 0));
      if ('wrong' in reading) return;
      const { method, params } = value as { method?: string; params?: { name?: string } };
      assert.equal(reading.message.method, method);
      if (method === 'tools/call') assert.equal(reading.message.name, params?.name);
    }),
    { numRuns: 2000 },
  );
});

test('headers that agree with the message, or are not there, are no objection', () => {
  const call = { method: 'tools/call', name: 'löschen' };
  const encoded = `=?base64?${Buffer.from('löschen').toString('base64')}?=`;
  assert.equal(headerDisagreement(call, [], []), undefined);
  assert.equal(headerDisagreement(call, [' tools/call\t'], [encoded]), undefined);
  assert.equal(headerDisagreement(call, [], [Buffer.from('löschen').toString('latin1')]), undefined);
  assert.equal(headerDisagreement({ method: 'ping', name: undefined }, ['ping'], []), undefined);
});

test('headers that disagree with the message are said to', () => {
  const call = { method: 'tools/call', name: 'read' };
  for (const [methods, names] of [
    [['tools/list'], []],
    [['Tools/Call'], []],
    [['tools/call', 'tools/call'], []],
    [[''], []],
    [[], ['delete']],
    [[], ['read', 'read']],
    [[], ['=?base64?cmVhZA?=']],
    [[], ['=?BASE64?cmVhZA==?=']],
  ]) {
    assert.match(headerDisagreement(call, methods as string[], names as string[]) ?? '', /Mcp-/);
  }
  assert.match(headerDisagreement({ method: 'ping', name: undefined }, [], ['x']) ?? '', /Mcp-Name/);
  assert.match(headerDisagreement({ method: undefined, name: undefined }, ['ping'], []) ?? '', /Mcp-Method/);
});

test('a name is decoded where it is encoded as the protocol says, and else is what it is', () => {
  assert.equal(decodeName('=?base64?cmVhZA==?='), 'read');
  assert.equal(decodeName('=?base64??='), '');
  for (const plain of ['read', '=?base64?cmVhZA?=', '=?base64?cm Vh?=', '=?base64?cmVhZA==']) {
    assert.equal(decodeName(plain), plain);
  }
});
