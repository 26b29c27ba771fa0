import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { BUILT_PROGRAM, runCommand } from '../harness/run-command.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const FLAGS = ['--backend', 'https://mcp.example.com/mcp', '--issuer', 'https://idp.example.com/realms/agents'];

test('init writes a valid config from flags, and names the next commands', async (t) => {
  const cwd = temporaryFolder(t);
  const { code, stdout, stderr } = await runCommand(['init', ...FLAGS, '--audience', 'mcp'], { cwd });
  assert.deepEqual([code, stderr], [0, '']);
  const [, doctor = ''] = /^ {2}node \S+main\.js (doctor .*)$/m.exec(stdout) ?? [];
  assert.equal(doctor, 'doctor --config cambist.yaml --subject-token-file token');
  assert.match(stdout, /^ {2}node \S+main\.js run --config cambist\.yaml$/m);
  const valid = await runCommand(['validate', '--config', 'cambist.yaml'], { cwd });
  assert.equal(valid.code, 0);
  assert.match(valid.stdout, /valid: 1 route, 1 authorization server/);
});

test('init overwrites nothing', async (t) => {
  const cwd = temporaryFolder(t);
  await writeFile(join(cwd, 'cambist.yaml'), 'mine');
  const { code, stderr } = await runCommand(['init', ...FLAGS], { cwd });
  assert.equal(code, 1);
  assert.match(stderr, /cambist\.yaml exists and is left unchanged/);
  assert.equal(await readFile(join(cwd, 'cambist.yaml'), 'utf8'), 'mine');
});

test('init writes no invalid file, and shows what is wrong', async (t) => {
  const cwd = temporaryFolder(t);
  const invalid = ['--backend', 'http://mcp.example.com/mcp', ...FLAGS.slice(2)];
  const { code, stderr } = await runCommand(['init', ...invalid], { cwd });
  assert.equal(code, 1);
  assert.match(stderr, /upstream: must be https/);
  assert.match(stderr, /cambist\.yaml is not written/);
  await assert.rejects(readFile(join(cwd, 'cambist.yaml')), { code: 'ENOENT' });
});

test('init says that the folder of the file does not exist', async (t) => {
  const { code, stderr } = await runCommand(['init', ...FLAGS, '--config', 'none/c.yaml'], { cwd: temporaryFolder(t) });
  assert.equal(code, 1);
  assert.match(stderr, /^none\/c\.yaml cannot be written: its folder does not exist: create the folder first$/m);
});

test('init names the missing flags where it cannot ask', async (t) => {
  const { code, stderr } = await runCommand(['init'], { cwd: temporaryFolder(t) });
  assert.equal(code, 2);
  assert.match(stderr, /init needs --backend, --issuer/);
});

const notLinux = process.platform === 'linux' ? false : 'needs the "script" of util-linux';

/** Prompts and what is typed after each. A terminal may print a prompt more than once, so each is told by its own text. */
const DIALOG: [prompt: RegExp, typed: string][] = [
  [/URL of the backend.*: $/, 'localhost:9000/mcp'],
  [/Write a URL[\s\S]*URL of the backend.*: $/, FLAGS[1] ?? ''],
  [/Issuer of your authorization server.*: $/, FLAGS[3] ?? ''],
  [/Id of cambist's client.*: $/, ''],
  [/The server's name of the backend.*: $/, 'mcp'],
];

test('init asks on a terminal, and asks again for an invalid URL', { skip: notLinux }, async (t) => {
  const cwd = temporaryFolder(t);
  const command = `${process.execPath} ${BUILT_PROGRAM} init`;
  const child = spawn('script', ['-qec', command, '/dev/null'], { cwd, timeout: 60_000 });
  const steps = [...DIALOG];
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk;
    const [step] = steps;
    if (step === undefined || !step[0].test(stripVTControlCharacters(printed))) return;
    steps.shift();
    child.stdin.write(`${step[1]}\n`);
  });
  await text(child.stdout);
  assert.deepEqual(steps, [], printed);
  assert.match(printed, /is written and valid/);
  const written = await readFile(join(cwd, 'cambist.yaml'), 'utf8');
  assert.match(written, /client_id: cambist\n/);
  assert.match(written, /audience: mcp\n/);
});

test('init keeps lines that are pasted at once, and writes nothing if the input ends', {
  skip: notLinux,
}, async (t) => {
  const cwd = temporaryFolder(t);
  const command = `${process.execPath} ${BUILT_PROGRAM} init`;
  const typeAtOnce = async (typed: string) => {
    const child = spawn('script', ['-qec', command, '/dev/null'], { cwd, timeout: 60_000 });
    child.stdout.once('data', () => child.stdin.write(typed));
    return text(child.stdout);
  };
  const END = '\u0004';
  assert.match(await typeAtOnce(END), /the questions were not answered; nothing is written/);
  assert.match(await typeAtOnce(`${FLAGS[1]}\n${FLAGS[3]}\nagent\nmcp\n`), /is written and valid/);
  assert.match(await readFile(join(cwd, 'cambist.yaml'), 'utf8'), /client_id: agent\n[\s\S]*audience: mcp\n/);
});
