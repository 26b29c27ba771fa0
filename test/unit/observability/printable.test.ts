import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable, printableJson } from '../../../src/observability/printable.ts';

// DEL, CSI in one byte, an override, a zero-width space, a line separator, and a tag outside the basic plane.
const HOSTILE = 'a\u007f\u009b\u202e\u200b\u2028\u{e0041}\u001b\nö日😀';

test('replaces what could control or reorder a line', () => {
  assert.equal(printable(HOSTILE), 'a????????ö日😀');
});

test('escapes it in JSON, which means the same, and keeps its indentation', () => {
  const value = { [HOSTILE]: [HOSTILE] };
  const text = printableJson(value, 2);
  assert.deepEqual(JSON.parse(text), value);
  const [, line = ''] = text.split('\n');
  assert.equal(line, '  "a\\u007f\\u009b\\u202e\\u200b\\u2028\\udb40\\udc41\\u001b\\nö日😀": [');
  assert.equal(text.split('\n').length, 5);
  assert.equal(printableJson({ a: 1 }), '{"a":1}');
});
