import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editMembers, jsonMembers, skipSpace } from '../../../src/tokens/json-members.ts';

test('finds the members of an object with their texts', () => {
  const text = '{ "a" : 1.50e3 , "b\\"}": {"x":[1,"]}"]},\n"\\u0063":"}", "d":null }';
  const members = jsonMembers(text, 0);
  assert.deepEqual(
    members.map(({ key, valueStart, end }) => [key, text.slice(valueStart, end)]),
    [
      ['a', '1.50e3'],
      ['b"}', '{"x":[1,"]}"]}'],
      ['c', '"}"'],
      ['d', 'null'],
    ],
  );
  assert.deepEqual(jsonMembers('{ }', 0), []);
});

test('replaces and removes members, and keeps the bytes of all others', () => {
  const edit = (text: string, ...replaced: [string, string | undefined][]) => editMembers(text, 0, new Map(replaced));
  assert.equal(edit('{"a":1,"b":2.0,"c":3}', ['a', undefined]), '{"b":2.0,"c":3}');
  assert.equal(edit('{"a":1,"b":2.0,"c":3}', ['c', undefined]), '{"a":1,"b":2.0}');
  assert.equal(edit('{"a":1, "b" : 2.0 ,"c":3}', ['b', '"x"']), '{"a":1,"b" : "x","c":3}');
  assert.equal(edit('{ "a":1 }', ['a', undefined]), '{  }');
  assert.equal(edit('{}', ['a', '1']), '{}');
});

test('agrees with JSON.parse for any object and any spacing', () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 6 });
  fc.assert(
    fc.property(object, fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
      const text = ` ${JSON.stringify(value, null, indent)}`;
      const at = skipSpace(text, 0);
      const members = jsonMembers(text, at);
      const read = members.map(({ key, valueStart, end }) => [key, JSON.parse(text.slice(valueStart, end))]);
      assert.deepEqual(read, Object.entries(JSON.parse(text)));
      const [first] = Object.keys(value);
      if (first === undefined) return;
      const { [first]: _removed, ...rest } = JSON.parse(text);
      assert.deepEqual(JSON.parse(editMembers(text, at, new Map([[first, undefined]]))), rest);
    }),
  );
});
