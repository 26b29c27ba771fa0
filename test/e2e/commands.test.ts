import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { promisify, stripVTControlCharacters } from 'node:util';
import { describeCommand, describeProgram } from '../../src/commands/help.ts';
import { USAGES } from '../../src/commands/usages.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { serve } from '../harness/http-server.ts';
import { AGENT_MANIFEST } from '../harness/injected-pod.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { BUILT_PROGRAM, runCommand } from '../harness/run-command.ts';
import { assertSameManifests } from '../unit/kubernetes/samples.ts';

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
  // Unit tests have the help of each command. Only inject's help loads more.
  for (const [stdout, ...args] of [
    [describeProgram(), '-h'],
    [describeProgram(), 'help'],
    [describeCommand('inject'), 'help', 'inject'],
    [describeCommand('explain'), 'explain', '--json', 'http://a/', '-h'],
  ]) {
    assert.deepEqual(await runCommand(args), { code: 0, stdout, stderr: '' }, args.join(' '));
  }
});

test('prints the version of the package', async () => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  assert.deepEqual(await runCommand(['version']), { code: 0, stdout: `${version}\n`, stderr: '' });
});

/** Unit tests have the messages of flags and arguments. */
const MISUSES: [args: string[], message: RegExp][] = [
  [['vaildate'], /unknown command "vaildate": did you mean "validate"\?/],
  [['schema', 'cambist.yaml'], /Unexpected argument 'cambist\.yaml'.*\nTry "cambist schema --help"/],
  [['help', 'servve'], /unknown command "servve"\n/],
  [['constructor'], /unknown command "constructor"/],
  [['--port', '1'], /Unknown option '--port'\n/],
  [['run', '--log-format', 'xml'], /invalid --log-format "xml": use auto, json or text/],
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

test('run says why it does not start', async (t) => {
  const other = await startFakeUpstream(t, echo);
  const invalid = 'version: 1\nlistn: x\nroutes:\n  - name: A\n    match: { path: mcp }\n';
  const unset = 'environment variable "CAMBIST_TEST_SECRET" is not set: set it for this process';
  const taken = `admin: cannot listen on 127.0.0.1:${other.port}: another process listens there: stop it, or choose another address`;
  for (const [text, secret, ...problems] of [
    [undefined, SECRET, 'cambist.yaml: no such file: name the config file with --config or CAMBIST_CONFIG, or'],
    [invalid, SECRET, ':2:1: unknown key "listn": did you mean "listen"?', ':4:11: ', ':5:20: ', '"upstream"'],
    [CONFIG, '', unset],
    [`${CONFIG}listen: 127.0.0.1:0\nadmin: 127.0.0.1:${other.port}\n`, SECRET, taken],
  ] as const) {
    const file = text === undefined ? '/nowhere/cambist.yaml' : await configFile(t, text);
    const variables = { CAMBIST_CONFIG: file, CAMBIST_TEST_SECRET: secret };
    const { code, stderr } = await runCommand(['run'], { env: variables });
    assert.equal(code, 1);
    for (const problem of problems) assert.ok(stderr.includes(problem), `${problem}: ${stderr}`);
  }
});

test('run and exec exit when they cannot start, though they have a connection to a shared cache', async (t) => {
  const store = createServer((socket) => socket.resume());
  const { port } = await serve(t, store);
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

test('inject and uninject read standard input, and print a line for each object on standard error', async () => {
  const stream = `${AGENT_MANIFEST}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cambist}\n`;
  const flags = ['--image', 'registry.example.com/cambist:0.1.0', '--secret', 'cambist', '--proxy-env'];
  const injected = await runCommand(['inject', ...flags, '-'], { input: stream });
  assert.equal(injected.code, 0);
  assert.match(
    injected.stderr,
    /^deployment\/agent: injected: only HTTP_PROXY is set: .*\nconfigmap\/cambist: skipped: a ConfigMap has no pod\n$/,
  );
  assert.match(injected.stdout, /image: registry\.example\.com\/cambist:0\.1\.0$/m);
  const back = await runCommand(['uninject', '-'], { input: injected.stdout });
  assert.equal(back.code, 0);
  assertSameManifests(back.stdout, stream);
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
