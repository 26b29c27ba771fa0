import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { grantedBy } from '../../../src/tokens/granted.ts';
import { keptBytesEach, longText } from '../../harness/heap.ts';

const JWT = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln';

test('reads audience and scope as servers write them', () => {
  assert.deepEqual(grantedBy({ aud: 'github', scope: 'repo user' }, 'other'), {
    audience: ['github'],
    scope: 'repo user',
  });
  assert.deepEqual(grantedBy({ aud: ['a', 'b'], scp: ['x', 'y'] }, undefined), {
    audience: ['a', 'b'],
    scope: 'x y',
  });
  assert.deepEqual(grantedBy(undefined, 'repo'), { audience: [], scope: 'repo' });
  assert.deepEqual(grantedBy(undefined, undefined), { audience: [], scope: undefined });
});

test('leaves out names that look like tokens', () => {
  assert.deepEqual(grantedBy({ aud: ['github', JWT, `x ${JWT}`], scope: `repo ${JWT}` }, undefined), {
    audience: ['github'],
    scope: undefined,
  });
  assert.deepEqual(grantedBy(undefined, JWT), { audience: [], scope: undefined });
  assert.deepEqual(grantedBy({ aud: `cbh_${'x'.repeat(43)}` }, undefined), { audience: [], scope: undefined });
});

test('gives the same object for equal names', () => {
  assert.equal(grantedBy({ aud: 'github', iat: 1 }, undefined), grantedBy({ aud: 'github', iat: 2 }, undefined));
});

test('remembers no names that look like tokens', () => {
  assert.notEqual(grantedBy({ aud: JWT }, undefined), grantedBy({ aud: JWT }, undefined));
});

test('shows at most 16 audiences', () => {
  const aud = Array.from({ length: 17 }, (_, index) => `backend-${index}`);
  assert.deepEqual(grantedBy({ aud }, undefined).audience, aud.slice(0, 16));
});

test('does not mix up names with those of the previous token', () => {
  const stated: [aud: string | string[] | undefined, scope: string | undefined][] = [
    ['github', 'repo'],
    ['github', 'user'],
    ['gitlab', 'user'],
    [['gitlab', 'github'], 'user'],
    ['gitlab', undefined],
    [undefined, undefined],
    [undefined, 'user'],
  ];
  for (const [aud, scope] of [...stated, ...stated.toReversed()]) {
    const claims = aud === undefined ? undefined : { aud };
    assert.deepEqual(grantedBy(claims, scope), { audience: aud === undefined ? [] : [aud].flat(), scope });
  }
});

test('reads names beside lists that nest thousands of levels deep', () => {
  const deep: unknown = JSON.parse('['.repeat(12_000) + ']'.repeat(12_000));
  const aud = ['github', deep] as string[];
  assert.deepEqual(grantedBy({ aud, scope: 'repo' }, undefined), { audience: ['github'], scope: 'repo' });
});

test('keeps nothing of long names but what it shows', () => {
  const bytesEach = keptBytesEach((i) => grantedBy({ aud: [longText(i), longText(i)] }, longText(i)));
  assert.ok(bytesEach < 20_000, `${bytesEach} bytes each`);
});

test('stays short and never throws, whatever the claims are', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('aud', 'scope', 'scp'), fc.jsonValue()), fc.string(), (claims, more) => {
      const { audience, scope = '' } = grantedBy(claims, more.repeat(1000));
      assert.ok(audience.length <= 16);
      for (const name of audience) assert.ok(typeof name === 'string' && name.length <= 256);
      assert.ok(scope.length <= 1024);
    }),
  );
});
