import assert from 'node:assert/strict';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { createPseudonyms, pickActors, pickClaims } from '../../../src/audit/recorded-claims.ts';
import { keptBytesEach, longText } from '../../harness/heap.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const asTheyAre = (_claim: string, value: string): string => value;

/** The names of the members of a chain, from the outermost. */
function depthOf(act: unknown): number {
  let depth = 0;
  for (let at = act as { act?: unknown } | undefined; at !== undefined; at = at.act as typeof at) depth += 1;
  return depth;
}

test('picks the configured claims and nothing else', () => {
  const picked = { sub: 'alice', admin: true, level: 3, groups: ['a', 'b'] };
  const claims = { ...picked, iss: 'https://idp', email: 'a@example.com' };
  assert.deepEqual(pickClaims(claims, [...Object.keys(picked), 'missing'], asTheyAre), picked);
});

test('leaves out objects, null and values that look like tokens', () => {
  const token = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.';
  const claims = { realm_access: { roles: ['a'] }, nothing: null, id_token: token, list: ['a', token, { b: 1 }] };
  assert.deepEqual(pickClaims(claims, Object.keys(claims), asTheyAre), { list: ['a'] });
});

test('keeps nothing of long claims but what it shows', () => {
  const bytesEach = keptBytesEach((i) =>
    pickClaims({ sub: longText(i), list: [longText(i)] }, ['sub', 'list'], asTheyAre),
  );
  assert.ok(bytesEach < 20_000, `${bytesEach} bytes each`);
});

test('shortens long texts and lists', () => {
  const claims = { long: 'x'.repeat(1000), many: Array.from({ length: 100 }, (_, i) => i) };
  const { long, many } = pickClaims(claims, ['long', 'many'], asTheyAre);
  assert.equal(long, `${'x'.repeat(256)}…`);
  assert.equal((many as unknown[]).length, 16);
});

test('picks a claim named __proto__ as a property of its own', () => {
  const picked = pickClaims(JSON.parse('{"__proto__":"x"}'), ['__proto__', 'constructor'], asTheyAre);
  assert.equal(JSON.stringify(picked), '{"__proto__":"x"}');
  assert.equal(Object.getPrototypeOf(picked), Object.prototype);
});

test('ends a chain of actors after eight', () => {
  let act: Record<string, unknown> = { sub: 'first' };
  for (let i = 0; i < 100; i += 1) act = { sub: `actor-${i}`, act };
  const picked = pickActors({ act }, ['sub'], asTheyAre);
  assert.equal(picked?.sub, 'actor-99');
  assert.equal(depthOf(picked), 9);
  assert.match(JSON.stringify(picked), /\{"truncated":true\}\}+$/);
});

test('shows issuer and subject of an actor even if they are not configured', () => {
  const claims = { sub: 'alice', act: { iss: 'https://idp', sub: 'agent', secret: 'x' } };
  assert.deepEqual(pickActors(claims, ['oid'], asTheyAre), { iss: 'https://idp', sub: 'agent' });
});

test('ignores an act that is not an object', () => {
  for (const act of ['agent', 7, true, null, ['agent']]) assert.equal(pickActors({ act }, [], asTheyAre), undefined);
});

test('leaves out claims that have a pseudonym but no key', () => {
  const withoutKey = (claim: string, value: string): string | undefined => (claim === 'sub' ? undefined : value);
  const claims = { sub: 'alice', azp: 'agent', act: { sub: 'agent' } };
  assert.deepEqual(pickClaims(claims, ['sub', 'azp', 'act'], withoutKey), { azp: 'agent', act: {} });
});

test('writes a pseudonym in place of a number and of each item of a list', () => {
  const pseudonym = (_claim: string, value: string): string => `hmac:${value.length}`;
  assert.deepEqual(pickClaims({ uid: 1234, mail: ['ab', 'c'] }, ['uid', 'mail'], pseudonym), {
    uid: 'hmac:4',
    mail: ['hmac:2', 'hmac:1'],
  });
});

test('stays small for any claims', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (claims) => {
      const names = Object.keys(claims).slice(0, 32);
      const text = JSON.stringify(pickClaims(claims, names, asTheyAre));
      assert.ok(text.length < 32 * 17 * 2000);
    }),
  );
});

const KEY = 'a-long-random-key-of-the-operator-1';

/** Pseudonyms for `sub` with a key in a file, which a test may replace, as a rotation does. */
function startPseudonyms(t: TestContext) {
  const file = join(temporaryFolder(t), 'key');
  const write = async (key: string) => {
    await writeFile(`${file}.new`, key);
    await rename(`${file}.new`, file);
  };
  return { write, pseudonyms: createPseudonyms({ key: { file }, claims: ['sub'] }) };
}

test('gives a listed claim no value until the key is read, and others their own', async (t) => {
  const { write, pseudonyms } = startPseudonyms(t);
  await write(KEY);
  assert.equal(pseudonyms.isReady, false);
  assert.equal(pseudonyms.pseudonymize('sub', 'alice'), undefined);
  assert.equal(pseudonyms.pseudonymize('azp', 'agent'), 'agent');
  assert.equal(await pseudonyms.readKey(), true);
  assert.equal(pseudonyms.isReady, true);
  assert.equal(pseudonyms.pseudonymize('azp', 'agent'), 'agent');
});

test('says whether the key has changed, and uses the new one', async (t) => {
  const { write, pseudonyms } = startPseudonyms(t);
  const { pseudonymize, readKey } = pseudonyms;
  await write(KEY);
  assert.equal(await readKey(), true);
  const before = pseudonymize('sub', 'alice');
  assert.equal(await readKey(), false);
  await write('another-long-random-key-of-operators');
  assert.equal(await readKey(), true);
  assert.notEqual(pseudonymize('sub', 'alice'), before);
});

for (const [what, content] of [
  ['empty', ''],
  ['short', 'x'.repeat(31)],
] as const) {
  test(`refuses a key that is ${what}, and keeps the previous one`, async (t) => {
    const { write, pseudonyms } = startPseudonyms(t);
    await write(content);
    await assert.rejects(pseudonyms.readKey(), { code: 'ERR_CREDENTIAL_UNAVAILABLE' });
    assert.equal(pseudonyms.isReady, false);
    await write(KEY);
    await pseudonyms.readKey();
    const before = pseudonyms.pseudonymize('sub', 'alice');
    await write(content);
    await assert.rejects(pseudonyms.readKey(), { code: 'ERR_CREDENTIAL_UNAVAILABLE' });
    assert.equal(pseudonyms.isReady, true);
    assert.equal(pseudonyms.pseudonymize('sub', 'alice'), before);
  });
}
