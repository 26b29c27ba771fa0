import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { schema, validate } from '../../../src/commands/validate.ts';
import { callCommand } from '../../harness/call-command.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { VALID } from '../config/sample.ts';

/** A ConfigMap that contains a config in a literal block. */
function configMap(text: string, name = 'cambist', key = 'cambist.yaml'): string {
  const block = text.replace(/^(?=.)/gm, '    ');
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\ndata:\n  ${key}: |\n${block}`;
}

/** The exit code and output of the command for a config file with this text. */
async function run(t: TestContext, text: string, ...options: string[]) {
  const { file } = writerInto(temporaryFolder(t))('c.yaml', text);
  const { code, stdout } = await callCommand(validate, ['--config', file, ...options]);
  return { code, lines: stdout.trimEnd().replaceAll(file, 'c.yaml').split('\n') };
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
      'c.yaml:8:30: warning: authorization_servers.main.client_auth.client_secret.file: file "/nowhere/secret" cannot be read here: mount it where cambist runs, readable for its user',
      'c.yaml: valid: 1 route, 1 authorization server; 1 warning',
    ],
  });
});

test('recommends token_endpoint where metadata of several issuers is read', async (t) => {
  const other = (issuer: string) =>
    `  other: { issuer: "${issuer}", client_id: x, client_auth: { method: none } }\nroutes:`;
  const warnings = async (text: string) => {
    const { lines } = await run(t, `${text}    authorization_server: main\n`);
    return lines.filter((line) => line.includes('token_endpoint of'));
  };
  const several = VALID.replace('routes:', other('https://other.example.com'));
  assert.deepEqual(await warnings(several), [
    'c.yaml:2:1: warning: authorization_servers: metadata of one could claim the token endpoint of another, which then gets no requests: set token_endpoint of "main", "other"',
  ]);
  const named = several.replace('client_id: x', 'token_endpoint: "https://other.example.com/t", client_id: x');
  assert.deepEqual(await warnings(named), []);
  assert.deepEqual(await warnings(VALID.replace('routes:', other('https://idp.example.com/realms/agents'))), []);
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
  const counts = { routes: 1, authorization_servers: 1 };
  assert.equal(good.code, 0);
  assert.deepEqual(JSON.parse(good.lines.join('\n')), { file: 'c.yaml', valid: true, ...counts, problems: [] });
  const bad = await run(t, '', '--json');
  const message = 'the file is empty: start from config/cambist.yaml';
  const problem = { severity: 'error', file: 'c.yaml', line: 1, column: 1, path: '', message };
  assert.equal(bad.code, 1);
  assert.deepEqual(JSON.parse(bad.lines.join('\n')), { file: 'c.yaml', valid: false, problems: [problem] });
});

test('validates the config in a ConfigMap: in a block or a quoted value, under another key, or in a List', async (t) => {
  const quoted = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'q' }, data: { 'agents.yml': VALID } };
  for (const [manifest, place] of [
    [configMap(VALID), 'ConfigMap cambist, cambist.yaml'],
    [JSON.stringify(quoted, null, 2), 'ConfigMap q, agents.yml'],
    [JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [quoted] }, null, 2), 'ConfigMap q, agents.yml'],
  ] as const) {
    const valid = await run(t, manifest);
    assert.deepEqual(valid.lines, [`c.yaml (${place}): valid: 1 route, 1 authorization server`]);
    const { code, lines } = await run(t, manifest.replace('version: 1', 'version: 2'));
    assert.equal(code, 1);
    assert.ok(lines[0]?.startsWith(`c.yaml (${place}):1:10: version: `), lines[0]);
    assert.equal(lines[1], `c.yaml (${place}): 1 error`);
  }
});

test('validates every config in a manifest, and ignores other objects and keys', async (t) => {
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: { name: s }\nstringData: { cambist.yaml: x }\n';
  const dashboard = configMap('{ "title": "cambist" }\n', 'dashboard', 'cambist.json');
  const documents = [secret, configMap(VALID, 'one'), dashboard, configMap('version: 1\n', 'two')];
  const { code, lines } = await run(t, documents.join('---\n'), '--json');
  assert.equal(code, 1);
  const { valid, configs, problems } = JSON.parse(lines.join('\n'));
  assert.equal(valid, false);
  assert.deepEqual(configs, [
    { config_map: 'one', key: 'cambist.yaml', valid: true, routes: 1, authorization_servers: 1 },
    { config_map: 'two', key: 'cambist.yaml', valid: false },
  ]);
  assert.equal(problems.length, 1);
});

test('reports a manifest without a config', async (t) => {
  const { code, lines } = await run(t, 'apiVersion: v1\nkind: Pod\nmetadata: { name: p }\n');
  assert.equal(code, 1);
  assert.equal(lines[0], 'c.yaml: a manifest without a config: expected a ConfigMap with "cambist.yaml"');
});

test('throws on wrong usage', async () => {
  await assert.rejects(validate(['--confg', 'x']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
  await assert.rejects(validate(['c.yaml']), { code: 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL' });
  await assert.rejects(schema(['--config', 'x']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
});

test('prints no character of the file that controls or reorders the line', async (t) => {
  const server = 'token_endpoint: "https://a.example.com", client_id: c, client_auth: { method: none }';
  const hostile = `version: 1\nauthorization_servers:\n  a: { ${server}, extra_params: { "p\\x9b2J\u202e": 1 } }\nroutes: []\n`;
  const { lines } = await run(t, hostile);
  assert.match(lines[0] ?? '', /: authorization_servers\.a\.extra_params\["p\?2J\?"\]: must be a string/);
  const json = await run(t, hostile, '--json');
  assert.match(json.lines.join(), /extra_params\[\\"p\\u009b2J\\u202e\\"\]/);
});

const committed = readFileSync(new URL('../../../config/cambist.schema.json', import.meta.url), 'utf8');

test('prints the committed JSON Schema; if this fails, run "npm run schema"', async () => {
  assert.deepEqual(await callCommand(schema, []), { code: 0, stdout: committed, stderr: '' });
});

interface Schema {
  properties?: Record<string, { description?: string }>;
  additionalProperties?: unknown;
  items?: unknown;
}

test('the JSON Schema describes each key', () => {
  const check = (node: unknown, path: string): void => {
    if (typeof node !== 'object' || node === null) return;
    const { properties = {}, additionalProperties, items } = node as Schema;
    for (const [key, value] of Object.entries(properties)) {
      assert.match(String(value.description), /^.{10,}/, `${path}.${key} has no description`);
      check(value, `${path}.${key}`);
    }
    check(additionalProperties, `${path}.*`);
    check(items, `${path}[]`);
  };
  const parsed = JSON.parse(committed);
  assert.equal(parsed.$schema, 'https://json-schema.org/draft/2020-12/schema');
  check(parsed, '');
  assert.equal(parsed.properties.listen.default, '127.0.0.1:8180');
  assert.equal(parsed.additionalProperties, false);
});
