import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { validate } from '../../../src/commands/validate.ts';
import { VALID } from '../config/sample.ts';

/** What the command prints and answers about a config file of this text. */
async function run(t: TestContext, text: string, ...options: string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'validate-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'c.yaml');
  await writeFile(file, text);
  const log = t.mock.method(console, 'log', () => undefined);
  const code = await validate(['--config', file, ...options]);
  const lines = log.mock.calls.map(({ arguments: [line] }) => String(line).replaceAll(file, 'c.yaml'));
  log.mock.restore();
  return { code, lines };
}

const MISSING_SECRET = VALID.replace('{ env: CAMBIST_CLIENT_SECRET }', '{ file: /nowhere/secret }');

// What the sample names is there, so that only what a test breaks is told.
process.env.CAMBIST_CLIENT_SECRET = 'x';

test('a good file is said to be good, with what is in it', async (t) => {
  assert.deepEqual(await run(t, VALID), { code: 0, lines: ['c.yaml: valid: 1 route, 1 authorization server'] });
  const none = 'version: 1\nroutes:\n  - { name: a, match: { path: /a }, upstream: "https://a", credential: none }\n';
  const two = `${none}  - { name: b, match: { path: /b }, upstream: "https://b", credential: none }\n`;
  assert.deepEqual(await run(t, two), { code: 0, lines: ['c.yaml: valid: 2 routes, 0 authorization servers'] });
});

test('a warning leaves it good', async (t) => {
  assert.deepEqual(await run(t, MISSING_SECRET), {
    code: 0,
    lines: [
      'c.yaml:8:30: warning: authorization_servers.main.client_auth.client_secret.file: file "/nowhere/secret" cannot be read here: mount it where cambist runs',
      'c.yaml: valid: 1 route, 1 authorization server; 1 warning',
    ],
  });
});

test('every problem is a line, in the order of the file, and errors fail the command', async (t) => {
  const text = `${MISSING_SECRET.replace('version: 1', 'version: 2')}    scopes: x\n`;
  const { code, lines } = await run(t, text);
  assert.equal(code, 1);
  assert.deepEqual(
    lines.map((line) => line.split(': ').slice(0, 2).join(': ')),
    ['c.yaml:1:10: version', 'c.yaml:8:30: warning', 'c.yaml:13:5: routes[0]', 'c.yaml: 2 errors, 1 warning'],
  );
});

test('--json says the same to a machine', async (t) => {
  const good = await run(t, VALID, '--json');
  assert.equal(good.code, 0);
  assert.deepEqual(JSON.parse(good.lines.join('\n')), {
    file: 'c.yaml',
    valid: true,
    routes: 1,
    authorization_servers: 1,
    problems: [],
  });
  const bad = await run(t, '', '--json');
  assert.equal(bad.code, 1);
  assert.deepEqual(JSON.parse(bad.lines.join('\n')), {
    file: 'c.yaml',
    valid: false,
    problems: [
      {
        severity: 'error',
        file: 'c.yaml',
        line: 1,
        column: 1,
        path: '',
        message: 'the file is empty: see config/cambist.yaml for one to begin with',
      },
    ],
  });
});

test('wrong use is told apart from a wrong file', async () => {
  await assert.rejects(validate(['--confg', 'x']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
  await assert.rejects(validate(['c.yaml']), { code: 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL' });
});
