import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { route, runDoctor } from './doctor-run.ts';

const audited = (audit: Record<string, unknown>) => ({
  audit,
  routes: [route('open', { audience: undefined, credential: 'none' })],
});

test('finds a folder that is missing, and a key that is missing or too short', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'key'), 'short');
  const pseudonymize = (key: string) => ({ key: { file: join(folder, key) } });
  const missing = await runDoctor(t, audited({ to: { file: join(folder, 'none/audit.jsonl') } }));
  assert.deepEqual(missing.problems, ['error audit_unreachable']);
  assert.deepEqual(missing.finding('audit_unreachable').about, { kind: 'audit', name: '' });
  for (const key of ['absent', 'key']) {
    const { problems } = await runDoctor(t, audited({ to: 'stdout', pseudonymize: pseudonymize(key) }));
    assert.deepEqual(problems, ['error credential_unavailable'], key);
  }
});

test('finds a disk that is full', async (t) => {
  const path = join(temporaryFolder(t), 'audit.jsonl');
  const full = async () => ({ blocks: 16, bavail: 0 });
  const mocked = t.mock.method(promises, 'statfs', full as unknown as typeof promises.statfs);
  syncBuiltinESMExports();
  t.after(() => {
    mocked.mock.restore();
    syncBuiltinESMExports();
  });
  const { problems, finding } = await runDoctor(t, audited({ to: { file: path } }));
  assert.deepEqual(problems, ['error audit_unreachable']);
  assert.match(finding('audit_unreachable').what, /audit\.jsonl": the disk is full$/);
});

test('connects to the socket of the reader, and creates no file', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'audit.sock');
  const to = `unix:${path}`;
  const away = await runDoctor(t, audited({ to }));
  assert.equal(away.finding('audit_unreachable').why, 'ENOENT');
  const reader = createServer();
  await new Promise<void>((resolve) => {
    reader.listen(path, resolve);
  });
  t.after(() => reader.close());
  assert.deepEqual((await runDoctor(t, audited({ to }))).problems, []);
  const file = await runDoctor(t, audited({ to: { file: join(folder, 'audit.jsonl') } }));
  assert.match(file.finding('audit_reached').what, /can be written/);
});
