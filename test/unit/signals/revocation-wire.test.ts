import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { batchesOf, readEntries, toWire } from '../../../src/signals/revocation-wire.ts';

const entry = fc.record({
  key: fc.constantFrom('a', 'b', '_').map((letter) => letter.repeat(43)),
  issuer: fc.string({ maxLength: 200, unit: 'binary' }),
  atMs: fc.nat(),
});

test('skips entries that are malformed', () => {
  const [key, issuer, atMs] = ['k'.repeat(43), 'https://idp.example.com', 5];
  const good = [
    [key, issuer, atMs],
    ['', 'i'.repeat(2048), atMs],
  ];
  const bad = [
    ...[null, {}, [], [key], [key, issuer], [7, issuer, atMs], [key, 7, atMs], [key, issuer, '5'], [key, issuer, null]],
    ...[`${key}k`, 'k', `${key}\n`, `.${key}`].map((wrong) => [wrong, issuer, atMs]),
    ...[Number.NaN, Number.POSITIVE_INFINITY].map((wrong) => [key, issuer, wrong]),
    [key, 'i'.repeat(2049), atMs],
  ];
  assert.deepEqual(
    readEntries([...bad, ...good]),
    good.map(([k, i, at]) => ({ key: k, issuer: i, atMs: at })),
  );
  for (const value of [undefined, null, 'text', { 0: good[0] }]) assert.deepEqual(readEntries(value), []);
});

test('the largest batch fits in a message of the shared cache', () => {
  fc.assert(
    fc.property(fc.array(entry, { minLength: 60, maxLength: 120 }), (entries) => {
      const batches = [...batchesOf(entries)];
      for (const batch of batches) assert.ok(Buffer.byteLength(JSON.stringify(batch.map(toWire))) < 11_000);
      assert.deepEqual(batches.flat(), entries);
    }),
    { numRuns: 20 },
  );
});

test('reads any value without an error', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void readEntries(value)));
});
