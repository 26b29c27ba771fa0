import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { validate } from '../../../src/commands/validate.ts';
import { VALID } from '../config/sample.ts';

/** The exit code and output of the command for a config file with this text. */
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

// The sample's secret exists, so a test sees only the problems that it causes.
process.env.CAMBIST_CLIENT_SECRET = 'x';

test('reports a valid file with its number of routes and servers', async (t) => {
  assert.deepEqual(await run(t, VALID), { code: 0, lines: ['c.yaml: valid: 1 route, 1 authorization server'] });
  const none = 'version: 1\nroutes:\n  - { name: a, match: { path: /a }, upstream: "https://a", credential: none }\n';
  const two = `${none}  - { name: b, match: { path: /b }, upstream: "https://b", credential: none }\n`;
  assert.deepEqual(await run(t, two), { code: 0, lines: ['c.yaml: valid: 2 routes, 0 authorization servers'] });
});

test('a file with warnings is valid', async (t) => {
  assert.deepEqual(await run(t, MISSING_SECRET), {
    code: 0,
    lines: [
      'c.yaml:8:30: warning: authorization_servers.main.client_auth.client_secret.file: file "/nowhere/secret" cannot be read here: mount it where cambist runs',
      'c.yaml: valid: 1 route, 1 authorization server; 1 warning',
    ],
  });
});

test('prints each problem in the order of the file, and fails on errors', async (t) => {
  const text = `${MISSING_SECRET.replace('version: 1', 'version: 2')}    scopes: x\n`;
  const { code, lines } = await run(t, text);
  assert.equal(code, 1);
  assert.deepEqual(
    lines.map((line) => line.split(': ').slice(0, 2).join(': ')),
    ['c.yaml:1:10: version', 'c.yaml:8:30: warning', 'c.yaml:13:5: routes[0]', 'c.yaml: 2 errors, 1 warning'],
  );
});

test('--json prints the same as JSON', async (t) => {
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

test('throws on wrong usage', async () => {
  await assert.rejects(validate(['--confg', 'x']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
  await assert.rejects(validate(['c.yaml']), { code: 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL' });
});
