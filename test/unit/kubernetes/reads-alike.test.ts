import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readsAlike } from '../../../src/kubernetes/reads-alike.ts';

const ALIKE: readonly (readonly [string, string])[] = [
  ['a: [ ]', 'a: []'],
  ['a: ~', 'a:'],
  ['{ a }', '{a: null}'],
  ['[a: b]', '[ {a: b} ]'],
  ['? a\n: b', 'a: "b"'],
  ['a: 0x10', 'a: 16'],
  ['a: 1.0e1', 'a: 10'],
  ['a: +30 # c', 'a: 30'],
  ['a: >-\n  -Xmx1g\n  -Da=b\n', "a: '-Xmx1g -Da=b'"],
  ['a: &x 128Mi', 'a: &x "128Mi"'],
];

const UNLIKE: readonly (readonly [string, string])[] = [
  // Only Go reads these texts as numbers.
  ...['0X1F', '0o1_7', '0b1', '0B1', '0O7', '+0x1', '-0b1', '1_000', '+_1', '0_x1', '.5', '._5', '1.', '01000'].map(
    (text) => [`a: ${text}`, `a: "${text}"`] as const,
  ),
  ...['1:30', '2026-01-01', '2026-1-1 1:2:3', '.inf', '+.INF', '.NaN', 'y', 'No', 'on', 'TRUE', 'Null', '~', '='].map(
    (text) => [`a: ${text}`, `a: '${text}'`] as const,
  ),
  ['a: 01000', 'a: 1000'],
  ['a: 0o17', 'a: 15'],
  ['a: 12345678901234567890', 'a: 12345678901234567891'],
  ['a: 1.5', 'a: 1.50'],
  ['"<<": {}', '<<: {}'],
  ['a: !!binary aGk=', 'a: aGk='],
  ['a: !!int "5"', 'a: "5"'],
  ['a: !!str 5', 'a: 5'],
  ['a: !own b', 'a: b'],
  ['a: &x b', 'a: b'],
  ['a: &x b\nc: *x', 'a: &x b\nc: b'],
  ['a: b\nc: d', 'c: d\na: b'],
  ['a: "\\u2028b"', 'a: "\u2028b"'],
  ['a: b # \rc: d', 'a: b # c: d'],
  ['a: b # \u2028c: d', 'a: b # \u2029c: d'],
  ['%TAG ! tag:example.com,2026:\n---\na: b', '---\na: b'],
  ['%YAML 1.1\n---\na: b', '---\na: b'],
];

for (const [left, right] of ALIKE) {
  test(`${JSON.stringify(left)} reads like ${JSON.stringify(right)}`, () => assert.ok(readsAlike(left, right)));
}

for (const [left, right] of UNLIKE) {
  test(`${JSON.stringify(left)} does not read like ${JSON.stringify(right)}`, () => {
    assert.ok(!readsAlike(left, right));
    assert.ok(!readsAlike(right, left));
  });
}
