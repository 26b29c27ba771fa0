import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { platform } from 'node:process';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import fc from 'fast-check';
import { readCredential } from '../../../src/secrets/credential.ts';
import { isLikeToken } from '../../../src/secrets/like-a-token.ts';
import { oncePerSecret, Secret } from '../../../src/secrets/secret.ts';
import { soon } from '../../harness/eventually.ts';
import { folderOf } from '../tokens/sample.ts';

const unavailable = (message: RegExp) => ({ code: 'ERR_CREDENTIAL_UNAVAILABLE', message });

test('reads a file at each use, without trailing line ends', async (t) => {
  const file = folderOf(t).write('secret', 'one\r\n\n');
  assert.equal((await readCredential({ file }, 'secret')).reveal(), 'one');
  await writeFile(file, ' two ');
  assert.equal((await readCredential({ file }, 'secret')).reveal(), ' two ');
});

test('reads the environment, and returns the same secret until it changes', async (t) => {
  process.env.TEST_CREDENTIAL = 'one\n';
  t.after(() => delete process.env.TEST_CREDENTIAL);
  const first = await readCredential({ env: 'TEST_CREDENTIAL' }, 'secret');
  assert.equal(first.reveal(), 'one');
  assert.equal(await readCredential({ env: 'TEST_CREDENTIAL' }, 'secret'), first);
  process.env.TEST_CREDENTIAL = 'two';
  assert.equal((await readCredential({ env: 'TEST_CREDENTIAL' }, 'secret')).reveal(), 'two');
});

test('refuses a missing, empty or too large credential, and names it', async (t) => {
  const file = folderOf(t).write('secret', '\n');
  const refuses = (source: Parameters<typeof readCredential>[0], why: RegExp) =>
    assert.rejects(readCredential(source, 'key of "a"'), unavailable(why));
  await refuses({ file }, /^key of "a": file ".*" is empty/);
  await writeFile(file, Buffer.alloc(256 * 1024 + 1, 'x'));
  await refuses({ file }, /^key of "a": file ".*" is larger than 262144 bytes/);
  await rm(file);
  await refuses({ file }, /^key of "a": file ".*" cannot be read/);
  await refuses({ env: 'NO_SUCH_VARIABLE' }, /^key of "a": environment variable "NO_SUCH_VARIABLE" is not set/);
  process.env.TEST_EMPTY = '';
  t.after(() => delete process.env.TEST_EMPTY);
  await refuses({ env: 'TEST_EMPTY' }, /^key of "a": environment variable "TEST_EMPTY" is empty/);
});

test('refuses a folder, a device and a pipe without waiting', {
  skip: platform === 'win32',
}, async (t) => {
  const pipe = `${folderOf(t).write('secret', 'x')}-pipe`;
  execFileSync('mkfifo', [pipe]);
  const files = [pipe, tmpdir(), '/dev/zero', '/dev/null'];
  // More than Node has threads for file access.
  const reads = [...files, ...Array<string>(8).fill(pipe)].map((file) =>
    assert.rejects(
      readCredential({ file }, 'key'),
      unavailable(/^key: file ".*" is a folder, a device or a pipe: set the path of a file/),
    ),
  );
  await soon('every read to be refused', Promise.all(reads));
});

test('follows a link, as Kubernetes mounts a Secret', { skip: platform === 'win32' }, async (t) => {
  const file = folderOf(t).write('secret', 'linked');
  await symlink(file, `${file}-link`);
  assert.equal((await readCredential({ file: `${file}-link` }, 'key')).reveal(), 'linked');
});

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

test('recognizes tokens and handles within a text as one regular expression does, whose time grows with the square of the length', () => {
  const simple = /eyJ[\w-]{8}|e[wy][\w-]{10,}\.[\w-]{8}|cbh_/;
  const piece = fc.constantFrom('e', 'y', 'w', 'J', '.', ' ', 'a', '0123456789', 'ey', 'eyJ', '-', 'cbh', '_');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 24 }), (pieces) => {
      const text = pieces.join('');
      assert.equal(isLikeToken(text), simple.test(text));
    }),
    { numRuns: 2000 },
  );
});

test('reads a long text that starts a token everywhere', () => {
  assert.ok(!isLikeToken('ey'.repeat(32 * 1024)));
  assert.ok(isLikeToken('a'.repeat(64 * 1024 + 1)));
});
