import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readCredential } from '../../../src/config/credential.ts';

async function makeFile(t: TestContext, content: string | Uint8Array): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'credential-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'secret'), content);
  return join(folder, 'secret');
}

const unavailable = (message: RegExp) => ({ code: 'ERR_CREDENTIAL_UNAVAILABLE', message });

test('a credential is read from its file each time, less the line ends after it', async (t) => {
  const file = await makeFile(t, 'one\r\n\n');
  assert.equal((await readCredential({ file }, 'secret')).reveal(), 'one');
  await writeFile(file, ' two ');
  assert.equal((await readCredential({ file }, 'secret')).reveal(), ' two ');
});

test('a credential is read from the environment', async (t) => {
  process.env.TEST_CREDENTIAL = 'one\n';
  t.after(() => delete process.env.TEST_CREDENTIAL);
  assert.equal((await readCredential({ env: 'TEST_CREDENTIAL' }, 'secret')).reveal(), 'one');
});

test('a credential that is missing, empty or too large is unavailable, and the message says which', async (t) => {
  const file = await makeFile(t, '\n');
  await assert.rejects(
    readCredential({ file }, 'client secret of "a"'),
    unavailable(/^client secret of "a": file ".*" is empty/),
  );
  await writeFile(file, Buffer.alloc(256 * 1024 + 1, 'x'));
  await assert.rejects(readCredential({ file }, 'key'), unavailable(/^key: file ".*" is larger than 262144 bytes/));
  await rm(file);
  await assert.rejects(readCredential({ file }, 'key'), unavailable(/^key: file ".*" cannot be read/));
  await writeFile(file, 'x');
  await assert.rejects(
    readCredential({ env: 'NO_SUCH_VARIABLE' }, 'key'),
    unavailable(/^key: environment variable "NO_SUCH_VARIABLE" is not set/),
  );
  process.env.TEST_EMPTY = '';
  t.after(() => delete process.env.TEST_EMPTY);
  await assert.rejects(
    readCredential({ env: 'TEST_EMPTY' }, 'key'),
    unavailable(/^key: environment variable "TEST_EMPTY" is empty/),
  );
});
