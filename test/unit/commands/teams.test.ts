import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import type { Command } from '../../../src/commands/command.ts';
import { explain } from '../../../src/commands/explain.ts';
import { snippet } from '../../../src/commands/snippet.ts';
import { validate } from '../../../src/commands/validate.ts';
import { callCommand } from '../../harness/call-command.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { fencedBlocks } from '../../harness/pages.ts';

const ENTRY = { name: 'billing', paths: ['/billing'], authorization_servers: ['main'], agents: ['billing'] };
const UPSTREAMS = ['https://*.billing.example.com'];
const MAIN = {
  version: 1,
  listen: { address: '0.0.0.0:8180' },
  authorization_servers: {
    main: {
      issuer: 'https://idp.example.com',
      client_id: 'cambist',
      client_auth: { method: 'client_secret_basic', client_secret: { file: '/nowhere/secret' } },
    },
  },
  agents: {
    token: { header: 'x-agent-token', issuer: 'https://agents.example.com', audience: 'cambist' },
    known: { billing: { subject: 'billing' } },
  },
  decisions: { http: { listen: 'unix:/run/cambist/decisions.sock' } },
  routes: [{ name: 'rest', match: { path: '/' }, upstream: 'https://rest.example.com', credential: 'none' }],
};
const ALLOWED = 'https://x.billing.example.com';
const routes = (upstream: string) =>
  `routes:\n  - name: ledger\n    match: { path: /billing/ledger }\n    upstream: ${upstream}\n`;

/** A main file, a file with the entry alone, and the folder of the team. */
async function start(t: TestContext) {
  const base = temporaryFolder(t);
  const folder = join(base, 'billing');
  await mkdir(folder);
  const write = writerInto(base);
  write('billing/a.yaml', routes(ALLOWED));
  const entries = { routes_from: [{ ...ENTRY, folder, upstreams: UPSTREAMS }] };
  const main = write('main.yaml', JSON.stringify({ ...MAIN, ...entries })).file;
  const entry = write('entry.yaml', JSON.stringify(entries)).file;
  /** The output of a command that exits with this code. */
  async function output(code: number, command: Command, ...args: string[]): Promise<string> {
    const result = await callCommand(command, args);
    const text = (result.stdout + result.stderr).replaceAll(`${base}/`, '');
    assert.equal(result.code, code, text);
    return text;
  }
  return { base, folder, write, output, main, entry };
}

test('validate reads the folders of all teams', async (t) => {
  const { main, output, write } = await start(t);
  assert.match(await output(0, validate, '--config', main), /^main\.yaml: valid: 2 routes/m);
  write('billing/a.yaml', routes('https://other.example.com'));
  assert.match(
    await output(1, validate, '--config', main),
    /^billing\/a\.yaml:4:5: routes\[0\]\.upstream: is not in upstreams of routes_from "billing".*\nmain\.yaml: 1 error/m,
  );
  assert.equal(JSON.parse(await output(1, validate, '--config', main, '--json')).valid, false);
});

test('validate warns of a folder that is only mounted where cambist runs', async (t) => {
  const { base, main, write, output } = await start(t);
  const entry = { ...ENTRY, folder: join(base, 'none'), upstreams: UPSTREAMS };
  write('main.yaml', JSON.stringify({ ...MAIN, routes_from: [entry] }));
  assert.match(await output(0, validate, '--config', main), /^none: warning: does not exist: create or mount it$/m);
});

test('validate --routes checks the folder of a team by the main file, or by its entry alone, without secrets', async (t) => {
  const { main, entry, folder, write, output } = await start(t);
  const check = (code: number, config: string, as = 'billing') =>
    output(code, validate, '--config', config, '--routes', folder, '--as', as);
  for (const config of [main, entry]) {
    write('billing/a.yaml', routes(ALLOWED));
    assert.match(await check(0, config), /^billing: valid: 1 route/m);
    write('billing/a.yaml', `${routes(ALLOWED)}    agents: [support]\n`);
    assert.match(await check(1, config), /^billing\/a\.yaml:5:/m);
  }
  await check(2, main, 'none');
  await output(2, validate, '--config', main, '--routes', folder);
  write('main.yaml', 'version: 1\nroutes_from: [{ name: billing }]\n');
  assert.match(await check(1, main), /^main\.yaml:2:/m);
});

test('validate --routes fails for a folder that does not exist, and warns of one without files', async (t) => {
  const { base, entry, output } = await start(t);
  await mkdir(join(base, 'empty'));
  const valid = 'valid: 0 routes, 1 authorization server; 1 warning';
  for (const [code, path, problem, result = '1 error'] of [
    [1, 'bilings', 'does not exist: create or mount it'],
    [1, 'billing/a.yaml', 'is not a folder: name the folder with the files'],
    [0, 'empty', 'warning: has no .yaml file: name the folder that has the routes', valid],
  ] as const) {
    const text = await output(code, validate, '--config', entry, '--routes', join(base, path), '--as', 'billing');
    assert.equal(text, `${path}: ${problem}\n${path}: ${result}\n`);
  }
});

test('validate --routes finds an error of the entry in its own line, and names files from here', async (t) => {
  const { base, folder, write, output, entry } = await start(t);
  const other = { ...ENTRY, name: 'other', folder: '/other', paths: ['/other'], upstreams: UPSTREAMS };
  const own = `  - { name: billing, folder: /billing, pathz: [/billing], upstreams: [x] }\n`;
  write('entry.yaml', `routes_from:\n  - ${JSON.stringify(other)}\n${own}`);
  const found = await output(1, validate, '--config', entry, '--routes', folder, '--as', 'billing');
  assert.deepEqual(found.match(/^entry\.yaml.*$/gm), [
    'entry.yaml:3:40: routes_from[0]: unknown key "pathz": did you mean "paths"?',
    'entry.yaml:3:71: routes_from[0].upstreams[0]: must be a scheme and a host, as in https://*.billing.example.com, without a path',
    'entry.yaml: 2 errors',
  ]);
  write('billing/a.yaml', '- x');
  write('entry.yaml', JSON.stringify({ routes_from: [{ ...ENTRY, folder, upstreams: UPSTREAMS }] }));
  const here = (path: string) => relative('.', path);
  const text = await output(1, validate, '--config', here(entry), '--routes', here(folder), '--as', 'billing');
  assert.ok(text.includes(`${here(folder)}/a.yaml:1:1: `.replace(`${base}/`, '')), text);
});

test('the page checks a team in its CI with the entry alone, and shows the output', async (t) => {
  const { base, write, output } = await start(t);
  const page = readFileSync('config/teams.md', 'utf8');
  const block = (language: string) => fencedBlocks(page, language)[0] ?? '';
  await mkdir(join(base, 'routes'));
  write('entry.yaml', block('yaml entry'));
  const scripts: string[] = [
    parse(block('yaml github')).jobs.routes.steps[1].run,
    parse(block('yaml gitlab')).routes.script[0],
  ];
  for (const script of scripts) {
    const [docker = '', args = ''] = script.split(' validate ');
    assert.match(docker, /^docker run --rm -v "\$PWD:\/team:ro" -w \/team \S+\/cambist:0\.1\.0$/);
    const written = args.replace(/entry\.yaml|\broutes\b(?= --as)/g, `${base}/$&`).split(' ');
    write('routes/ledger.yaml', block('yaml team'));
    assert.equal(await output(0, validate, ...written), 'routes: valid: 1 route, 1 authorization server\n');
    write('routes/ledger.yaml', block('yaml team').replace('ledger.billing', 'ledger'));
    assert.equal(await output(1, validate, ...written), block('text'));
  }
});

test('explain says whose region a request is in, and that it is closed', async (t) => {
  const { main, output, write } = await start(t);
  const explained = (code: number, path: string) => output(code, explain, '--config', main, path);
  const inside = await explained(0, '/billing/ledger');
  assert.match(inside, /Route "billing\/ledger"\nThe request is in the region of "billing"\./);
  assert.match(inside, /rest: the request is in the region of "billing", which has routes of its own/);
  assert.match(await explained(0, '/other'), /billing\/ledger: the request is not in the region of "billing"/);
  assert.match(await explained(1, '/billing/none'), /403 ERR_ROUTE_NOT_FOUND/);
  write('billing/a.yaml', 'nonsense');
  assert.match(await explained(1, '/%62illing'), /403 ERR_ROUTE_NOT_FOUND/);
  assert.match(await explained(1, '/billing/ledger'), /Closed: the request gets 503 ERR_ROUTES_INVALID/);
});

test('snippet leaves out the routes of teams, and says so', async (t) => {
  const { main, output } = await start(t);
  const text = await output(0, snippet, '--config', main, 'envoy');
  assert.match(text, /left out route "billing\/ledger", because its team changes it/);
});
