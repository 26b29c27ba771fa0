import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { ROUTE, VALID } from './sample.ts';

async function problemsOfFile(file: string): Promise<string[]> {
  const { config, problems } = await loadConfig(file);
  assert.equal(
    config === undefined,
    problems.some(({ severity }) => severity === 'error'),
  );
  return problems.map(formatProblem);
}

test('reports a file that cannot be read', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'c.yaml');
  const missing =
    'no such file: name the config file with --config or CAMBIST_CONFIG, or write one with "cambist init"';
  for (const [path, problem] of [
    [file, missing],
    [join(process.execPath, 'x'), missing],
    [folder, 'this is a folder: name the config file in it'],
    ['a\0b', 'cannot be read (ERR_INVALID_ARG_VALUE): check the path'],
  ]) {
    assert.deepEqual(await problemsOfFile(path ?? ''), [`${path}: ${problem}`]);
  }
  for (const [content, problem] of [
    [Uint8Array.of(0x76, 0xff, 0xfe), ' not UTF-8: save the file as UTF-8, or check that it is the right file'],
    [' '.repeat(4 * 1024 * 1024 + 1), ' larger than 4 MiB: check that this is the right file'],
    ['', '1:1: the file is empty: start from config/cambist.yaml'],
  ] as const) {
    await writeFile(file, content);
    assert.deepEqual(await problemsOfFile(file), [`${file}:${problem}`]);
  }
});

test('warns of an unset environment variable, which is an error if the process needs it', async (t) => {
  const { file } = writerInto(temporaryFolder(t))(
    'c.yaml',
    VALID.replace('CAMBIST_CLIENT_SECRET', 'CAMBIST_TEST_UNSET'),
  );
  const name = 'environment variable "CAMBIST_TEST_UNSET" is not set';
  for (const [needsVariables, severity, message] of [
    [false, 'warning', `${name} here: set it where cambist runs`],
    [true, 'error', `${name}: set it for this process`],
  ] as const) {
    const { config, problems } = await loadConfig(file, { needsVariables });
    assert.equal(config === undefined, needsVariables);
    const [problem, ...more] = problems;
    assert.deepEqual([problem?.severity, problem?.message, more], [severity, message, []]);
  }
  process.env.CAMBIST_TEST_UNSET = 'secret';
  t.after(() => delete process.env.CAMBIST_TEST_UNSET);
  assert.ok((await loadConfig(file, { needsVariables: true })).config);
});

test('reads a large file completely', async (t) => {
  const text = `version: 1\n${ROUTE}    credential: none\n# ${'x'.repeat(200_000)}é\n`;
  const { file } = writerInto(temporaryFolder(t))('c.yaml', text);
  const { config, problems } = await loadConfig(file);
  assert.deepEqual(problems, []);
  assert.equal(config?.routes.length, 1);
});

test('warns of a missing secret, key or certificate file', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'c.yaml');
  await mkdir(join(folder, 'there'));
  await writeFile(join(folder, 'there', 'secret'), 'x');
  const write = async (secret: string) => {
    const server = `version: 1
authorization_servers:
  main:
    issuer: https://idp.example.com
    client_id: cambist
    client_auth: { method: client_secret_post, client_secret: { file: ${secret} } }
    tls: { ca: { file: /nowhere/ca.pem } }
`;
    await writeFile(file, server + ROUTE);
    return problemsOfFile(file);
  };
  const mount = 'cannot be read here: mount it where cambist runs, readable for its user';
  const ca = `${file}:7:24: warning: authorization_servers.main.tls.ca.file: file "/nowhere/ca.pem" ${mount}`;
  await writeFile(join(folder, 'there', 'empty'), '');
  assert.deepEqual(await write('there/secret'), [ca]);
  for (const [secret, problem] of [
    ['missing/secret', `file "${folder}/missing/secret" ${mount}`],
    ['there/empty', `file "${folder}/there/empty" is empty here: write the value into it where cambist runs`],
    ['there/', `file "${folder}/there/" is a folder here: name the file in it`],
    ['hunter2', `the file ${mount}`],
  ] as const) {
    const at = `${file}:6:71: warning: authorization_servers.main.client_auth.client_secret.file`;
    assert.deepEqual(await write(secret), [`${at}: ${problem}`, ca]);
  }
});

test('warns of keys of the shared cache and of pseudonyms that are too short', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'c.yaml');
  const problemsWith = async (key: string) => {
    await writeFile(join(folder, 'key'), key);
    process.env.CAMBIST_TEST_KEY = key.trimEnd();
    t.after(() => delete process.env.CAMBIST_TEST_KEY);
    await writeFile(
      file,
      `version: 1
cache: { shared: { url: 'rediss://valkey.example.com', key: [{ file: key }, { env: CAMBIST_TEST_KEY }] } }
audit: { to: stdout, pseudonymize: { claims: [sub], key: { file: key } } }
routes:
  - { name: a, match: { path: /a }, upstream: 'https://a.example.com', credential: none }
`,
    );
    return (await problemsOfFile(file)).map((problem) => problem.replaceAll(`${file}:`, '').replaceAll(folder, ''));
  };
  assert.deepEqual(await problemsWith(`${'k'.repeat(32)}\n`), []);
  assert.deepEqual(await problemsWith('ü'.repeat(32)), []);
  const short = 'has a key of less than 32 characters here: use a long random one, as of "openssl rand -base64 32"';
  assert.deepEqual(await problemsWith(`${'k'.repeat(31)}\n`), [
    `2:70: warning: cache.shared.key[0].file: the file ${short}`,
    `2:84: warning: cache.shared.key[1].env: environment variable "CAMBIST_TEST_KEY" ${short}`,
    `3:66: warning: audit.pseudonymize.key.file: the file ${short}`,
  ]);
});
