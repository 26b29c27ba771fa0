import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
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
  const write = async (content: string | Uint8Array) => {
    await writeFile(join(folder, 'c.yaml'), content);
    return problemsOfFile(join(folder, 'c.yaml'));
  };
  const file = join(folder, 'c.yaml');
  const missing =
    'no such file: name the config file with --config or CAMBIST_CONFIG, or write one with "cambist init"';
  assert.deepEqual(await problemsOfFile(file), [`${file}: ${missing}`]);
  assert.deepEqual(await problemsOfFile(folder), [`${folder}: this is a folder: name the config file in it`]);
  assert.deepEqual(await write(Uint8Array.of(0x76, 0xff, 0xfe)), [
    `${file}: not UTF-8: save the file as UTF-8, or check that it is the right file`,
  ]);
  assert.deepEqual(await write(' '.repeat(4 * 1024 * 1024 + 1)), [
    `${file}: larger than 4 MiB: check that this is the right file`,
  ]);
  assert.deepEqual(await write(''), [`${file}:1:1: the file is empty: start from config/cambist.yaml`]);
  assert.deepEqual(await problemsOfFile(join(file, 'x')), [`${join(file, 'x')}: ${missing}`]);
  assert.deepEqual(await problemsOfFile('a\0b'), ['a\0b: cannot be read (ERR_INVALID_ARG_VALUE): check the path']);
});

function withSecret(t: TestContext, value: string | undefined): void {
  const before = process.env.CAMBIST_CLIENT_SECRET;
  const set = (to: string | undefined): void => {
    if (to === undefined) delete process.env.CAMBIST_CLIENT_SECRET;
    else process.env.CAMBIST_CLIENT_SECRET = to;
  };
  set(value);
  t.after(() => set(before));
}

test('warns of an unset environment variable, which is an error if the process needs it', async (t) => {
  withSecret(t, undefined);
  const file = join(temporaryFolder(t), 'c.yaml');
  await writeFile(file, VALID);
  const name = 'environment variable "CAMBIST_CLIENT_SECRET" is not set';
  for (const [needsVariables, severity, message] of [
    [false, 'warning', `${name} here: set it where cambist runs`],
    [true, 'error', `${name}: set it for this process`],
  ] as const) {
    const { config, problems } = await loadConfig(file, { needsVariables });
    assert.equal(config === undefined, needsVariables);
    const [problem, ...more] = problems;
    assert.deepEqual([problem?.severity, problem?.message, more], [severity, message, []]);
  }
  withSecret(t, 'secret');
  assert.ok((await loadConfig(file, { needsVariables: true })).config);
});

test('reads a large file completely', async (t) => {
  withSecret(t, 'x');
  const file = join(temporaryFolder(t), 'c.yaml');
  await writeFile(file, `${VALID}# ${'x'.repeat(200_000)}é\n`);
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
  const ca = `${file}:7:24: warning: authorization_servers.main.tls.ca.file: file "/nowhere/ca.pem" cannot be read here: mount it where cambist runs, readable for its user`;
  assert.deepEqual(await write('there/secret'), [ca]);
  assert.deepEqual(await write('missing/secret'), [
    `${file}:6:71: warning: authorization_servers.main.client_auth.client_secret.file: file "${folder}/missing/secret" cannot be read here: mount it where cambist runs, readable for its user`,
    ca,
  ]);
  await writeFile(join(folder, 'there', 'empty'), '');
  const at = `${file}:6:71: warning: authorization_servers.main.client_auth.client_secret.file: file "${folder}/there`;
  const empty = 'is empty here: write the value into it where cambist runs';
  assert.deepEqual(await write('there/empty'), [`${at}/empty" ${empty}`, ca]);
  assert.deepEqual(await write('there/'), [`${at}/" is a folder here: name the file in it`, ca]);
  assert.deepEqual(await write('hunter2'), [
    `${file}:6:71: warning: authorization_servers.main.client_auth.client_secret.file: the file cannot be read here: mount it where cambist runs, readable for its user`,
    ca,
  ]);
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
