import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fencedBlocks } from '../harness/markdown.ts';
import { runCommand } from '../harness/run-command.ts';

const readme = readFileSync('README.md', 'utf8');

test('accepts the config of the README in the checks that it recommends', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'readme-'));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'cambist.yaml'), fencedBlocks(readme, 'yaml')[0] ?? '');
  const lines = fencedBlocks(readme, 'sh').flatMap((block) => block.split('\n'));
  const checks = lines.filter((line) => /^node dist\/main\.js (?:validate|explain)/.test(line));
  assert.equal(checks.length, 2);
  for (const line of checks) {
    const { code, stdout, stderr } = await runCommand(line.split(' ').slice(2), { cwd: directory });
    assert.equal(code, 0, `${line}\n${stdout}${stderr}`);
  }
});
