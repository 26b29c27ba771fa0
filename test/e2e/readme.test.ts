import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fencedBlocks } from '../harness/markdown.ts';
import { readPagesIn } from '../harness/pages.ts';
import { runCommand } from '../harness/run-command.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const readme = readFileSync('README.md', 'utf8');

test('accepts the config of the README in the checks that it recommends', async (t) => {
  const directory = temporaryFolder(t);
  writeFileSync(join(directory, 'cambist.yaml'), fencedBlocks(readme, 'yaml')[0] ?? '');
  const lines = fencedBlocks(readme, 'sh').flatMap((block) => block.split('\n'));
  const checks = lines.filter((line) => /^node dist\/main\.js (?:validate|explain)/.test(line));
  assert.equal(checks.length, 2);
  for (const line of checks) {
    const { code, stdout, stderr } = await runCommand(line.split(' ').slice(2), { cwd: directory });
    assert.equal(code, 0, `${line}\n${stdout}${stderr}`);
  }
});

/** The `validate` and `explain` commands in the comments of the configs, and in the shell blocks of the pages about pods. */
function documentedChecks(): string[] {
  const comments = readdirSync('config')
    .filter((name) => name.endsWith('.yaml'))
    .map((name) =>
      readFileSync(`config/${name}`, 'utf8')
        .replace(/^(?!#).*$/gm, '')
        .replace(/^# ?/gm, ''),
    );
  const pages = fencedBlocks(readPagesIn('deploy'), 'sh');
  const text = [...comments, ...pages].join('\n').replace(/ \\\n\s*/g, ' ');
  const found = [...text.matchAll(/(?:^|[\s`])cambist ((?:validate|explain) [^`\n]+)/gm)].map(
    ([, command = '']) => command,
  );
  return found.filter((command) => existsSync(/--config (\S+)/.exec(command)?.[1] ?? ''));
}

test('every documented validate and explain command of a shipped config works', async () => {
  const commands = documentedChecks();
  assert.ok(commands.length >= 5, commands.join('\n'));
  for (const command of commands) {
    const args = [...command.trim().matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
    const { code, stdout, stderr } = await runCommand(args);
    assert.equal(code, 0, `${command}\n${stdout}${stderr}`);
  }
});
