import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { UsageError } from '../../../src/commands/command.ts';
import { explain } from '../../../src/commands/explain.ts';
import { snippet } from '../../../src/commands/snippet.ts';
import { validate } from '../../../src/commands/validate.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
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
const routes = (upstream: string) =>
  `routes:\n  - name: ledger\n    match: { path: /billing/ledger }\n    upstream: ${upstream}\n`;

/** A main file, a file with the entry alone, and the folder of the team. */
async function start(t: TestContext, upstream = 'https://x.billing.example.com') {
  const base = temporaryFolder(t);
  const folder = join(base, 'billing');
  await mkdir(folder);
  await writeFile(join(folder, 'a.yaml'), routes(upstream));
  const entries = { routes_from: [{ ...ENTRY, folder, upstreams: UPSTREAMS }] };
  await writeFile(join(base, 'main.yaml'), JSON.stringify({ ...MAIN, ...entries }));
  await writeFile(join(base, 'entry.yaml'), JSON.stringify(entries));
  const lines: string[] = [];
  const note = (line: string) => void lines.push(line.replaceAll(`${base}/`, ''));
  for (const method of ['log', 'error'] as const) t.mock.method(console, method, note);
  t.mock.method(process.stdout, 'write', () => true);
  return { base, folder, lines, main: join(base, 'main.yaml'), entry: join(base, 'entry.yaml') };
}

test('validate reads the folders of all teams', async (t) => {
  const { main, lines, folder } = await start(t);
  assert.equal(await validate(['--config', main]), 0);
  assert.match(lines.at(-1) ?? '', /^main\.yaml: valid: 2 routes/);
  await writeFile(join(folder, 'a.yaml'), routes('https://other.example.com'));
  assert.equal(await validate(['--config', main]), 1);
  assert.match(
    lines.at(-2) ?? '',
    /^billing\/a\.yaml:4:5: routes\[0\]\.upstream: is not in upstreams of routes_from "billing"/,
  );
  assert.match(lines.at(-1) ?? '', /^main\.yaml: 1 error/);
  assert.equal(await validate(['--config', main, '--json']), 1);
  assert.equal(JSON.parse(lines.at(-1) ?? '').valid, false);
});

test('validate warns of a folder that is only mounted where cambist runs', async (t) => {
  const { base, main, lines } = await start(t);
  const entry = { ...ENTRY, folder: join(base, 'none'), upstreams: UPSTREAMS };
  await writeFile(main, JSON.stringify({ ...MAIN, routes_from: [entry] }));
  assert.equal(await validate(['--config', main]), 0);
  assert.ok(lines.includes('none: warning: does not exist: create or mount it'), lines.join('\n'));
});

test('validate --routes checks the folder of a team by the main file, or by its entry alone, without secrets', async (t) => {
  const { main, entry, folder, lines } = await start(t);
  const check = (config: string) => validate(['--config', config, '--routes', folder, '--as', 'billing']);
  for (const config of [main, entry]) {
    await writeFile(join(folder, 'a.yaml'), routes('https://x.billing.example.com'));
    assert.equal(await check(config), 0, lines.join('\n'));
    assert.match(lines.at(-1) ?? '', /^billing: valid: 1 route/);
    await writeFile(join(folder, 'a.yaml'), `${routes('https://x.billing.example.com')}    agents: [support]\n`);
    assert.equal(await check(config), 1);
    assert.ok(lines.some((line) => line.startsWith('billing/a.yaml:5:')));
  }
  await assert.rejects(async () => validate(['--config', main, '--routes', folder, '--as', 'none']), UsageError);
  await assert.rejects(async () => validate(['--config', main, '--routes', folder]), UsageError);
  await writeFile(main, 'version: 1\nroutes_from: [{ name: billing }]\n');
  assert.equal(await check(main), 1);
  assert.ok(lines.some((line) => line.startsWith('main.yaml:2:')));
});

test('validate --routes fails for a folder that does not exist, and warns of one without files', async (t) => {
  const { base, entry, folder, lines } = await start(t);
  const check = (routes: string) => validate(['--config', entry, '--routes', routes, '--as', 'billing']);
  assert.equal(await check(join(base, 'bilings')), 1);
  assert.equal(await check(join(folder, 'a.yaml')), 1);
  await mkdir(join(base, 'empty'));
  assert.equal(await check(join(base, 'empty')), 0);
  assert.deepEqual(lines, [
    'bilings: does not exist: create or mount it',
    'bilings: 1 error',
    'billing/a.yaml: is not a folder: name the folder with the files',
    'billing/a.yaml: 1 error',
    'empty: warning: has no .yaml file: name the folder that has the routes',
    'empty: valid: 0 routes, 1 authorization server; 1 warning',
  ]);
});

test('validate --routes finds an error of the entry in its own line, and names files from here', async (t) => {
  const { base, folder, lines } = await start(t);
  const entry = join(base, 'entry.yaml');
  const other = { ...ENTRY, name: 'other', folder: '/other', paths: ['/other'], upstreams: UPSTREAMS };
  const own = `  - { name: billing, folder: /billing, pathz: [/billing], upstreams: [x] }\n`;
  await writeFile(entry, `routes_from:\n  - ${JSON.stringify(other)}\n${own}`);
  assert.equal(await validate(['--config', entry, '--routes', folder, '--as', 'billing']), 1);
  assert.deepEqual(
    lines.filter((line) => line.startsWith('entry.yaml')).map((line) => line.split('\n')[0]),
    [
      'entry.yaml:3:40: routes_from[0]: unknown key "pathz": did you mean "paths"?',
      'entry.yaml:3:71: routes_from[0].upstreams[0]: must be a scheme and a host, as in https://*.billing.example.com, without a path',
      'entry.yaml: 2 errors',
    ],
  );
  await writeFile(join(folder, 'a.yaml'), '- x');
  await writeFile(entry, JSON.stringify({ routes_from: [{ ...ENTRY, folder, upstreams: UPSTREAMS }] }));
  const here = (path: string) => relative('.', path);
  assert.equal(await validate(['--config', here(entry), '--routes', here(folder), '--as', 'billing']), 1);
  const named = `${here(folder)}/a.yaml:1:1: `.replace(`${base}/`, '');
  assert.ok(lines.at(-2)?.startsWith(named), lines.at(-2));
});

test('the page checks a team in its CI with the entry alone, and shows the output', async (t) => {
  const { base, lines } = await start(t);
  const page = readFileSync('config/teams.md', 'utf8');
  const block = (language: string) => fencedBlocks(page, language)[0] ?? '';
  const routes = join(base, 'routes');
  await mkdir(routes);
  await writeFile(join(base, 'entry.yaml'), block('yaml entry'));
  const pipeline = parse(block('yaml github')) as { jobs: { routes: { steps: { run?: string }[] } } };
  const scripts = [pipeline.jobs.routes.steps[1]?.run, (parse(block('yaml gitlab')) as Gitlab).routes.script[0]];
  for (const script of scripts) {
    const [docker = '', args = ''] = script?.split(' validate ') ?? [];
    assert.match(docker, /^docker run --rm -v "\$PWD:\/team:ro" -w \/team \S+\/cambist:0\.1\.0$/);
    const check = () => validate(args.replace(/entry\.yaml|\broutes\b(?= --as)/g, `${base}/$&`).split(' '));
    await writeFile(join(routes, 'ledger.yaml'), block('yaml team'));
    assert.equal(await check(), 0);
    assert.equal(lines.at(-1), 'routes: valid: 1 route, 1 authorization server');
    await writeFile(join(routes, 'ledger.yaml'), block('yaml team').replace('ledger.billing', 'ledger'));
    assert.equal(await check(), 1);
    assert.equal(`${lines.slice(-2).join('\n')}\n`, block('text'));
  }
});

interface Gitlab {
  readonly routes: { readonly script: readonly string[] };
}

test('explain says whose region a request is in, and that it is closed', async (t) => {
  const { main, lines, folder } = await start(t);
  assert.equal(await explain(['--config', main, '/billing/ledger']), 0);
  assert.match(lines.at(-1) ?? '', /Route "billing\/ledger"\nThe request is in the region of "billing"\./);
  assert.match(lines.at(-1) ?? '', /rest: the request is in the region of "billing", which has routes of its own/);
  assert.equal(await explain(['--config', main, '/other']), 0);
  assert.match(lines.at(-1) ?? '', /billing\/ledger: the request is not in the region of "billing"/);
  assert.equal(await explain(['--config', main, '/billing/none']), 1);
  assert.match(lines.at(-1) ?? '', /403 ERR_ROUTE_NOT_FOUND/);
  await writeFile(join(folder, 'a.yaml'), 'nonsense');
  assert.equal(await explain(['--config', main, '/%62illing']), 1);
  assert.match(lines.at(-1) ?? '', /403 ERR_ROUTE_NOT_FOUND/);
  assert.equal(await explain(['--config', main, '/billing/ledger']), 1);
  assert.match(lines.at(-1) ?? '', /Closed: the request gets 503 ERR_ROUTES_INVALID/);
});

test('snippet leaves out the routes of teams, and says so', async (t) => {
  const { main, lines } = await start(t);
  assert.equal(await snippet(['--config', main, 'envoy']), 0, lines.join('\n'));
  assert.match(lines.join('\n'), /left out route "billing\/ledger", because its team changes it/);
});
