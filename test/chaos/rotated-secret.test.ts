import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { createLedger } from './ledger.ts';
import { createRandom } from './random.ts';
import { createRotatedSecret } from './rotated-secret.ts';

test('accepts the current client secret and the previous one, and reports an unknown one', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'secret');
  const ledger = createLedger(createRandom(1), () => 0);
  const secret = createRotatedSecret(file, ledger);
  await secret.rotate();
  const first = await readFile(file, 'utf8');
  await secret.rotate();
  const second = await readFile(file, 'utf8');
  assert.notEqual(first, second);
  secret.check(first);
  secret.check(second);
  assert.deepEqual(ledger.violations, []);
  secret.check('made up');
  assert.equal(ledger.violations.length, 1);
});
