import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rememberNames } from '../../../src/transport/known-names.ts';

/** Counts how often each name is read. */
function counting() {
  const reads: string[] = [];
  const nameAt = rememberNames((name) => {
    reads.push(name);
    if (name === 'bad name') throw new Error('invalid');
    return { name, key: name.toLowerCase() };
  });
  return { reads, nameAt };
}

test('reads each name once, whatever its position', () => {
  const { reads, nameAt } = counting();
  for (const [position, name] of ['Accept', 'Host', 'Accept', 'Host', 'accept'].entries()) {
    assert.deepEqual(nameAt(position, name), { name, key: name.toLowerCase() });
  }
  assert.equal(nameAt(0, 'Host').key, 'host');
  assert.equal(nameAt(0, 'Accept').key, 'accept');
  assert.deepEqual(reads, ['Accept', 'Host', 'accept']);
});

test('does not remember an invalid name', () => {
  const { reads, nameAt } = counting();
  for (let i = 0; i < 2; i += 1) assert.throws(() => nameAt(0, 'bad name'), /invalid/);
  assert.equal(reads.length, 2);
});

test('keeps a bounded number of names of callers', () => {
  const { reads, nameAt } = counting();
  for (let i = 0; i < 1000; i += 1) assert.equal(nameAt(i, `x-${i}`).key, `x-${i}`);
  reads.length = 0;
  for (let i = 0; i < 1000; i += 1) nameAt(999 - i, `x-${i}`);
  assert.equal(1000 - reads.length, 256);
});

test('does not keep a long name', () => {
  const { reads, nameAt } = counting();
  const long = 'x'.repeat(65);
  for (let i = 0; i < 2; i += 1) assert.equal(nameAt(0, long).key, long);
  assert.deepEqual(reads, [long, long]);
});
