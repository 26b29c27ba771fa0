import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { oncePerSecret, Secret } from '../../../src/secrets/secret.ts';

test('shows the value only by reveal()', () => {
  const secret = new Secret('hunter2');
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 5, showHidden: true }),
    format('%s %o %j', secret, secret, secret),
    Object.values(secret).join(),
  ];
  for (const text of shown) assert.ok(!text.includes('hunter2'), text);
  assert.equal(secret.reveal(), 'hunter2');
});

test('derives a value once for each secret, and again after an error', () => {
  let made = 0;
  const length = oncePerSecret((value) => {
    made += 1;
    if (value === 'bad') throw new Error('failed');
    return { length: value.length };
  });
  const secret = new Secret('four');
  assert.deepEqual(length(secret), { length: 4 });
  assert.equal(length(secret), length(secret));
  assert.equal(made, 1);
  assert.notEqual(length(new Secret('four')), length(secret));
  assert.equal(made, 2);
  const bad = new Secret('bad');
  assert.throws(() => length(bad));
  assert.throws(() => length(bad));
  assert.equal(made, 4);
});
