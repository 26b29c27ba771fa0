import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeForm, formDecode, formEncode } from '../../../src/tokens/form-encoding.ts';

const text = fc.string({ unit: fc.constantFrom(..."aZ09-_.~*!'()+/=&%: ?#@é€\u{1f511}\ud800") });

/** Values of some fields are encoded once. */
const name = fc.oneof(text, fc.constantFrom('resource', 'audience', 'subject_token', 'client_secret'));

test('a form parser reads what was encoded, with a replacement for invalid Unicode', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(name, text)), (fields) => {
      const expected = fields.map((field) => field.map((part) => part.toWellFormed()));
      for (const _ of [1, 2]) assert.deepEqual([...new URLSearchParams(encodeForm(fields))], expected);
      for (const [, value] of fields) assert.equal(formDecode(formEncode(value)), value.toWellFormed());
    }),
  );
});

test('leaves a token as it is', () => {
  assert.equal(formEncode('eyJhbGciOiJub25lIn0.e30.c2ln-_~'), 'eyJhbGciOiJub25lIn0.e30.c2ln-_~');
  assert.equal(encodeForm([['subject_token', 'a.b.c']]), 'subject_token=a.b.c');
  assert.equal(encodeForm([]), '');
});
