import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createPseudonyms } from '../../../src/audit/pseudonyms.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';

const KEY = 'a-long-random-key-of-the-operator-1';

/** A key in a file that a test may replace, as a rotation does. */
function keyFile(t: TestContext) {
  const folder = temporaryFolder(t);
  const file = join(folder, 'key');
  return {
    file,
    async write(key: string) {
      await writeFile(`${file}.new`, key);
      await rename(`${file}.new`, file);
    },
  };
}

test('records every claim as it is without a config', async () => {
  const pseudonyms = createPseudonyms(undefined);
  assert.equal(pseudonyms.isReady, true);
  assert.equal(pseudonyms.pseudonymize('sub', 'alice'), 'alice');
  assert.equal(await pseudonyms.readKey(), false);
});

test('gives a listed claim no value until the key is read, and others their own', async (t) => {
  const key = keyFile(t);
  await key.write(KEY);
  const pseudonyms = createPseudonyms({ key: { file: key.file }, claims: ['sub', 'email'] });
  assert.equal(pseudonyms.isReady, false);
  assert.equal(pseudonyms.pseudonymize('sub', 'alice'), undefined);
  assert.equal(pseudonyms.pseudonymize('azp', 'agent'), 'agent');
  assert.equal(await pseudonyms.readKey(), true);
  assert.equal(pseudonyms.isReady, true);
  assert.equal(pseudonyms.pseudonymize('azp', 'agent'), 'agent');
});

test('replaces a value by its HMAC, the same in each claim and different for each value', async (t) => {
  const key = keyFile(t);
  await key.write(`${KEY}\n`);
  const { pseudonymize, readKey } = createPseudonyms({ key: { file: key.file }, claims: ['sub', 'email'] });
  await readKey();
  const expected = `hmac:${createHmac('sha256', KEY).update('alice').digest('base64url')}`;
  assert.equal(pseudonymize('sub', 'alice'), expected);
  assert.equal(pseudonymize('email', 'alice'), expected);
  assert.notEqual(pseudonymize('sub', 'Alice'), expected);
});

test('says whether the key has changed, and uses the new one', async (t) => {
  const key = keyFile(t);
  const { pseudonymize, readKey } = createPseudonyms({ key: { file: key.file }, claims: ['sub'] });
  await key.write(KEY);
  assert.equal(await readKey(), true);
  const before = pseudonymize('sub', 'alice');
  assert.equal(await readKey(), false);
  await key.write('another-long-random-key-of-operators');
  assert.equal(await readKey(), true);
  assert.notEqual(pseudonymize('sub', 'alice'), before);
});

for (const [what, content] of [
  ['empty', ''],
  ['short', 'x'.repeat(31)],
] as const) {
  test(`refuses a key that is ${what}, and keeps the previous one`, async (t) => {
    const key = keyFile(t);
    const pseudonyms = createPseudonyms({ key: { file: key.file }, claims: ['sub'] });
    await key.write(content);
    await assert.rejects(pseudonyms.readKey(), { code: 'ERR_CREDENTIAL_UNAVAILABLE' });
    assert.equal(pseudonyms.isReady, false);
    await key.write(KEY);
    await pseudonyms.readKey();
    const before = pseudonyms.pseudonymize('sub', 'alice');
    await key.write(content);
    await assert.rejects(pseudonyms.readKey(), { code: 'ERR_CREDENTIAL_UNAVAILABLE' });
    assert.equal(pseudonyms.isReady, true);
    assert.equal(pseudonyms.pseudonymize('sub', 'alice'), before);
  });
}
