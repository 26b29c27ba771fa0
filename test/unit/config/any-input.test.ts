import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import { FULL, type Json, pathsOf, replaceAt, shuffleKeys } from './mutations.ts';

function holds(text: string) {
  const { config, problems } = parseConfig(text, 'c');
  const errors = problems.filter(({ severity }) => severity === 'error');
  assert.equal(config === undefined, errors.length > 0, 'a config or errors, one of the two');
  for (const { line, column, message } of problems) {
    assert.ok(line >= 1 && column >= 1);
    assert.match(message, /[^\s]/);
    assert.ok(!message.includes('undefined') && !message.includes('[object'), message);
    assert.ok(!/^Invalid (?:input|option|key)|received/.test(message), message);
  }
}

const WORDS = ['---', '<<', ': ', '- ', '\n  ', '&a', '*a', '!!str '];
const yaml = fc.array(fc.constantFrom(...'{}[]:,-?&*!|>"\'%@`#\n\t a1', ...WORDS), { maxLength: 60 });
const changed = fc
  .tuple(fc.constantFrom(...pathsOf(FULL)), fc.jsonValue({ maxDepth: 3 }))
  .map(([path, value]) => JSON.stringify(replaceAt(FULL, path, value as Json)));

for (const [what, text] of [
  ['any text', fc.string({ unit: 'grapheme', maxLength: 200 })],
  ['any text of YAML characters', yaml.map((signs) => signs.join(''))],
  ['any JSON', fc.json()],
  ['a valid config with anything in place of one part', changed],
] as const) {
  test(`returns a config or errors for ${what}`, () => {
    fc.assert(fc.property(text, holds), { numRuns: propertyRuns(200) });
  });
}

test('refuses a map as a choice, even if its keys are names of object methods', () => {
  holds(JSON.stringify(replaceAt(FULL, ['authorization_servers', 'one', 'client_auth', 'method'], { toString: null })));
});

test('returns a config or errors when one part of a valid config is missing', () => {
  for (const path of pathsOf(FULL)) holds(JSON.stringify(replaceAt(FULL, path, undefined)));
});

test('reads the same config whatever the order of keys and the syntax', () => {
  const sorted = (text: string) => {
    const { config } = parseConfig(text, 'c');
    const byName = (one: { name: string }, other: { name: string }) => one.name.localeCompare(other.name);
    return config && { ...config, authorizationServers: config.authorizationServers.toSorted(byName) };
  };
  const expected = sorted(JSON.stringify(FULL)) ?? assert.fail('no config');
  fc.assert(
    fc.property(fc.infiniteStream(fc.nat()), fc.boolean(), (numbers, asYaml) => {
      const shuffled = shuffleKeys(FULL, numbers);
      assert.deepEqual(sorted(asYaml ? stringify(shuffled) : JSON.stringify(shuffled, null, 2)), expected);
    }),
    { numRuns: propertyRuns(50) },
  );
});
