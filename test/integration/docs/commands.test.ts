import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { explain } from '../../../src/commands/explain.ts';
import { USAGES } from '../../../src/commands/usages.ts';
import { validate } from '../../../src/commands/validate.ts';
import { callCommand } from '../../harness/call-command.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { fencedBlocks, readPagesIn } from '../../harness/pages.ts';

/** Splits a command line as a shell does. */
function wordsOf(line: string): string[] {
  return [...line.trim().matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

/** @param line without the name of the program */
async function assertWorks(line: string, fileOf = (name: string) => name): Promise<void> {
  const [name, ...args] = wordsOf(line).map(fileOf);
  const { code, stdout, stderr } = await callCommand(name === 'validate' ? validate : explain, args);
  assert.equal(code, 0, `${line}\n${stdout}${stderr}`);
}

test('accepts the config of the README in its checks, and in the examples of validate and explain', async (t) => {
  const readme = readFileSync('README.md', 'utf8');
  const { file } = writerInto(temporaryFolder(t))('cambist.yaml', fencedBlocks(readme, 'yaml')[0] ?? '');
  const lines = fencedBlocks(readme, 'sh').flatMap((block) => block.split('\n'));
  const checks = lines.flatMap((line) => /^node dist\/main\.js ((?:validate|explain).*)/.exec(line)?.[1] ?? []);
  assert.equal(checks.length, 2);
  const examples = [USAGES.validate, USAGES.explain].map(({ example }) => example.replace('cambist ', ''));
  for (const line of [...checks, ...examples]) {
    await assertWorks(line, (name) => (name === 'cambist.yaml' ? file : name));
  }
});

test('every validate and explain command of a shipped config works, in comments and on the pages about pods', async () => {
  const comments = readdirSync('config')
    .filter((name) => name.endsWith('.yaml'))
    .map((name) =>
      readFileSync(`config/${name}`, 'utf8')
        .replace(/^(?!#).*$/gm, '')
        .replace(/^# ?/gm, ''),
    );
  const text = [...comments, ...fencedBlocks(readPagesIn('deploy'), 'sh')].join('\n').replace(/ \\\n\s*/g, ' ');
  const lines = [...text.matchAll(/(?:^|[\s`])cambist ((?:validate|explain) [^`\n]+)/gm)]
    .map(([, line = '']) => line)
    .filter((line) => existsSync(/--config (\S+)/.exec(line)?.[1] ?? ''));
  assert.ok(lines.length >= 5, lines.join('\n'));
  for (const line of lines) await assertWorks(line);
});
