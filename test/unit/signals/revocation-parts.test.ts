import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  DIGESTS_LENGTH,
  differingParts,
  digestsOf,
  PARTS,
  partOf,
  partsOf,
} from '../../../src/signals/revocation-parts.ts';

const ISSUER = 'https://idp.example.com';
const entry = fc.record({
  key: fc.oneof(
    { weight: 9, arbitrary: fc.nat().map((n) => hash('sha256', String(n), 'base64url')) },
    { weight: 1, arbitrary: fc.constant('') },
  ),
  issuer: fc.constantFrom(ISSUER, 'https://other.example.com'),
  atMs: fc.nat(),
});
const entries = fc.uniqueArray(entry, { selector: ({ key, issuer }) => `${key} ${issuer}`, maxLength: 50 });

test('lists with the same entries have the same digests, in any order', async () => {
  await fc.assert(
    fc.asyncProperty(entries, async (list) => {
      const digests = await digestsOf(partsOf(list));
      assert.equal(digests.length, DIGESTS_LENGTH);
      assert.equal(await digestsOf(partsOf([...list].reverse())), digests);
    }),
  );
});

test('exactly the parts of entries that are missing or have another time differ', async () => {
  await fc.assert(
    fc.asyncProperty(entries, fc.array(fc.constantFrom('kept', 'missing', 'earlier')), async (list, fates) => {
      const fateOf = (index: number) => fates[index] ?? 'kept';
      const other = list
        .map((each, index) => (fateOf(index) === 'earlier' ? { ...each, atMs: each.atMs - 1 } : each))
        .filter((_, index) => fateOf(index) !== 'missing');
      const expected = new Set(list.filter((_, index) => fateOf(index) !== 'kept').map(partOf));
      const found = differingParts(await digestsOf(partsOf(list)), await digestsOf(partsOf(other)));
      assert.deepEqual(new Set(found), expected);
    }),
  );
});

test('every key has a part', () => {
  fc.assert(
    fc.property(entry, (each) => {
      const part = partOf(each);
      assert.ok(Number.isInteger(part) && part >= 0 && part < PARTS);
      if (each.key !== '') assert.equal(part, Buffer.from(each.key, 'base64url')[0]);
    }),
  );
});
