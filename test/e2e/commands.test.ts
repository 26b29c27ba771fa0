import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { promisify, stripVTControlCharacters } from 'node:util';
import { describeCommand, describeProgram } from '../../src/commands/help.ts';
import { USAGES } from '../../src/commands/usages.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { fencedBlocks, readPagesIn } from '../harness/pages.ts';
import { BUILT_PROGRAM, runCommand } from '../harness/run-command.ts';

const CONFIG = `version: 1
authorization_servers:
  main:
    issuer: https://idp.example.com/realms/agents
    client_id: cambist
    client_auth: { method: client_secret_basic, client_secret: { env: CAMBIST_TEST_SECRET } }
routes:
  - name: github
    match: { host: "*.tools.svc", path: /mcp }
    upstream: https://github-mcp.example.com/base
    scope: repo:read
  - name: docs
    match: { path: /docs }
    upstream: http://docs:8080
    credential: none
`;

const SECRET = 'hunter2-is-the-secret';
const env = { CAMBIST_TEST_SECRET: SECRET };

async function configFile(t: TestContext, text: string): Promise<string> {
  const folder = temporaryFolder(t);
  const file = join(folder, 'cambist.yaml');
  await writeFile(file, text);
  return file;
}

test('prints the general help, or that of the named command', async () => {
  for (const args of [['--help'], ['-h'], ['help']]) {
    assert.deepEqual(await runCommand(args), { code: 0, stdout: describeProgram(), stderr: '' }, args.join(' '));
  }
  // The same code prints the help of each command, and unit tests have all of them. Only inject's help loads more.
  for (const name of ['run', 'inject'] as const) {
    const stdout = describeCommand(name);
    assert.deepEqual(await runCommand([name, '--help']), { code: 0, stdout, stderr: '' }, name);
  }
  assert.equal((await runCommand(['help', 'doctor'])).stdout, describeCommand('doctor'));
  const last = await runCommand(['explain', '--json', 'http://a/', '-h']);
  assert.equal(last.stdout, describeCommand('explain'));
});

test('prints the version of the package', async () => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  assert.deepEqual(await runCommand(['version']), { code: 0, stdout: `${version}\n`, stderr: '' });
});

test('schema prints the committed JSON Schema', async () => {
  const { code, stdout } = await runCommand(['schema']);
  assert.equal(code, 0);
  const committed = await readFile(new URL('../../config/cambist.schema.json', import.meta.url), 'utf8');
  assert.deepEqual(JSON.parse(stdout), JSON.parse(committed));
});

/** The tests of units have the messages of flags and arguments. */
const MISUSES: [args: string[], message: RegExp][] = [
  [['servve'], /unknown command "servve"/],
  [['vaildate'], /unknown command "vaildate": did you mean "validate"\?/],
  [['schema', 'cambist.yaml'], /Unexpected argument 'cambist\.yaml'.*\nTry "cambist schema --help"/],
  [['servve', '--help'], /unknown command "servve"\n/],
  [['help', 'servve'], /unknown command "servve"/],
  [['constructor'], /unknown command "constructor"/],
  [
    ['explain', '127.0.0.1:8180/mine'],
    /the URL must begin with http:\/\/ or https:\/\/, or be a path that begins with \/\n/,
  ],
  [['--port', '1'], /Unknown option '--port'\n/],
  [['explain'], /one URL/],
];
for (const [args, message] of MISUSES) {
  test(`exits with 2 and points to the help: cambist ${args.join(' ')}`, async () => {
    const { code, stdout, stderr } = await runCommand(args);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, message);
    const command = args[0] !== undefined && Object.hasOwn(USAGES, args[0]) ? `${args[0]} ` : '';
    assert.match(stderr, new RegExp(`^cambist: .*\\nTry "cambist ${command}--help"\\.\\n$`));
  });
}

test('run names the missing config file', async () => {
  const { code, stdout, stderr } = await runCommand(['run'], { env: { CAMBIST_CONFIG: '/nowhere/cambist.yaml' } });
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /^\/nowhere\/cambist\.yaml: no such file: .*--config.*CAMBIST_CONFIG/);
});

test('run reports every problem of an invalid config', async (t) => {
  const file = await configFile(t, 'version: 1\nlistn: x\nroutes:\n  - name: A\n    match: { path: mcp }\n');
  const { code, stdout, stderr } = await runCommand(['run', '--config', file]);
  assert.deepEqual([code, stdout], [1, '']);
  for (const place of [
    `${file}:2:1: unknown key "listn": did you mean "listen"?`,
    ':4:11: ',
    ':5:20: ',
    '"upstream"',
  ]) {
    assert.ok(stderr.includes(place), `${place}: ${stderr}`);
  }
});

test('run refuses an environment variable that is not set', async (t) => {
  const file = await configFile(t, CONFIG);
  const { code, stdout, stderr } = await runCommand(['run', '--config', file], { env: { CAMBIST_TEST_SECRET: '' } });
  assert.deepEqual([code, stdout], [1, '']);
  const problem = 'environment variable "CAMBIST_TEST_SECRET" is not set: set it for this process';
  assert.ok(stderr.includes(problem), stderr);
  assert.equal((await runCommand(['validate', '--config', file])).code, 0, 'a warning for validate');
});

for (const key of ['listen', 'admin']) {
  test(`run reports that the port of ${key} is in use`, async (t) => {
    const other = await startFakeUpstream(t, echo);
    const free = { listen: '127.0.0.1:0', admin: '127.0.0.1:0', [key]: `127.0.0.1:${other.port}` };
    const file = await configFile(t, `${CONFIG}listen: ${free.listen}\nadmin: ${free.admin}\n`);
    const { code, stderr } = await runCommand(['run', '--config', file], { env });
    assert.equal(code, 1);
    assert.equal(
      stderr,
      `${key}: cannot listen on 127.0.0.1:${other.port}: another process listens there: stop it, or choose another address\n`,
    );
  });
}

test('run and exec exit when they cannot start, though they have a connection to a shared cache', async (t) => {
  const store = createServer((socket) => socket.resume());
  const { port } = await listen(store);
  t.after(() => closeServer(store));
  const other = await startFakeUpstream(t, echo);
  const more = [
    'listen: 127.0.0.1:0',
    'admin: 127.0.0.1:0',
    `cache: { shared: { url: 'redis://127.0.0.1:${port}', key: { env: CAMBIST_TEST_SECRET } } }`,
    `inbound: { listen: '127.0.0.1:${other.port}', agent: 'http://127.0.0.1:1', verify: { issuer: 'https://idp.example.com', audience: x } }`,
  ];
  const file = await configFile(t, `${CONFIG}${more.join('\n')}\n`);
  const shared = { env: { CAMBIST_TEST_SECRET: 'x'.repeat(32) } };
  for (const args of [
    ['run', '--config', file],
    ['exec', '--config', file, '--', 'true'],
  ]) {
    const { code, stderr } = await runCommand(args, shared);
    assert.equal(code, 1);
    assert.match(stderr, /inbound\.listen: cannot listen on /);
  }
});

test('validate prints text, or JSON with --json', async (t) => {
  const file = await configFile(t, CONFIG);
  const human = await runCommand(['validate', '--config', file], { env });
  assert.deepEqual(human, { code: 0, stdout: `${file}: valid: 2 routes, 1 authorization server\n`, stderr: '' });
  const machine = await runCommand(['validate', '--json'], { env: { ...env, CAMBIST_CONFIG: file } });
  assert.equal(JSON.parse(machine.stdout).valid, true);
});

test('validate reads standard input', async (t) => {
  const file = await configFile(t, CONFIG);
  const script = 'cat "$1" | "$2" "$3" validate --config /dev/stdin';
  const args = ['-c', script, 'sh', file, process.execPath, BUILT_PROGRAM];
  const { stdout } = await promisify(execFile)('sh', args, { env: { ...process.env, ...env } });
  assert.equal(stdout, '/dev/stdin: valid: 2 routes, 1 authorization server\n');
});

test('a closed standard output changes neither the exit code nor standard error', async () => {
  const command = `{ ${process.execPath} ${BUILT_PROGRAM} --help; echo "code $?" >&2; } | exec 0<&-`;
  const { stderr } = await promisify(execFile)('/bin/sh', ['-c', command]);
  assert.equal(stderr, 'code 0\n');
});

test('explain prints text, or JSON with --json, and exits with 1 if no route matches', async (t) => {
  const explain = ['explain', '--config', await configFile(t, CONFIG)];
  const routed = await runCommand([...explain, 'http://github.tools.svc/mcp/x?q=1'], { env });
  assert.deepEqual([routed.code, routed.stderr], [0, '']);
  assert.match(routed.stdout, /^Route "github"\n[\s\S]*^ {2}resource=https:\/\/github-mcp\.example\.com\/base$/m);
  assert.ok(!routed.stdout.includes(SECRET));
  const lost = await runCommand([...explain, '--json', 'http://example.com/mcp'], { env });
  assert.equal(lost.code, 1);
  assert.equal(JSON.parse(lost.stdout).others.length, 2);
});

const readme = readFileSync('README.md', 'utf8');

test('accepts the config of the README in its checks, and in the examples of validate and explain', async (t) => {
  const directory = temporaryFolder(t);
  writeFileSync(join(directory, 'cambist.yaml'), fencedBlocks(readme, 'yaml')[0] ?? '');
  const lines = fencedBlocks(readme, 'sh').flatMap((block) => block.split('\n'));
  const checks = lines.filter((line) => /^node dist\/main\.js (?:validate|explain)/.test(line));
  assert.equal(checks.length, 2);
  const examples = [USAGES.validate, USAGES.explain].map(({ example }) => example.split(' ').slice(1));
  for (const args of [...checks.map((line) => line.split(' ').slice(2)), ...examples]) {
    const { code, stdout, stderr } = await runCommand(args, { cwd: directory });
    assert.equal(code, 0, `${args}\n${stdout}${stderr}`);
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

for (const [what, args, code, message] of [
  ['overwrites nothing', [...FLAGS, '--config', 'mine'], 1, /mine exists and is left unchanged/],
  [
    'writes no invalid file',
    ['--backend', 'http://mcp.example.com/mcp', ...FLAGS.slice(2)],
    1,
    /upstream: must be https[\s\S]*cambist\.yaml is not written/,
  ],
  [
    'does not create the folder of the file',
    [...FLAGS, '--config', 'none/c.yaml'],
    1,
    /^none\/c\.yaml cannot be written: its folder does not exist: create the folder first$/m,
  ],
  [
    'refuses a service account without its namespace',
    [...FLAGS, '--gateway', 'billing'],
    1,
    /must be namespace\/name[\s\S]*cambist\.yaml is not written/,
  ],
  ['refuses a folder', [...FLAGS, '--config', '.'], 1, /^\. is a folder: name a file in it with --config$/m],
  ['refuses a link to a file that does not exist', [...FLAGS, '--config', 'link'], 1, /^link exists and is left/m],
  ['names the missing flags where it cannot ask', [], 2, /init needs --backend and --issuer/],
] as const) {
  test(`init ${what}`, async (t) => {
    const cwd = temporaryFolder(t);
    await writeFile(join(cwd, 'mine'), 'mine');
    await symlink('nowhere', join(cwd, 'link'));
    const result = await runCommand(['init', ...args], { cwd });
    assert.equal(result.code, code);
    assert.match(result.stderr, message);
    assert.deepEqual(readdirSync(cwd).sort(), ['link', 'mine']);
    assert.equal(await readFile(join(cwd, 'mine'), 'utf8'), 'mine');
  });
}

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
