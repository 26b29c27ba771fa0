import assert from 'node:assert/strict';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { DecisionRow } from '../../src/admin/decision-report.ts';
import type { StatusReport } from '../../src/admin/status-report.ts';
import type { Command } from '../../src/commands/command.ts';
import { doctor } from '../../src/commands/doctor.ts';
import { tail } from '../../src/commands/tail.ts';
import { readRecords, recordsOf } from '../harness/audit-records.ts';
import { callCommand } from '../harness/call-command.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { freePort } from '../harness/http-server.ts';

/** The built program with the region `/billing` of a team, and no route outside. */
async function start(t: TestContext) {
  const admin = `127.0.0.1:${await freePort()}`;
  let routes = '';
  const setup = await startFakeSetup(t, {
    ready: false,
    files: { 'client-secret': 'x'.repeat(40) },
    change: ({ authorization_servers }, { upstream, directory }) => {
      routes = JSON.stringify({
        routes: [{ name: 'ledger', match: { path: '/billing/ledger' }, upstream: `${upstream.url}/mcp` }],
      });
      return {
        authorization_servers,
        admin,
        audit: { to: { file: 'audit.jsonl' } },
        routes_from: [
          {
            name: 'billing',
            folder: join(directory, 'billing'),
            paths: ['/billing'],
            authorization_servers: ['local'],
            upstreams: [upstream.url],
          },
        ],
      } as never;
    },
  });
  const { cambist } = setup;
  const folder = join(cambist.directory, 'billing');
  const series = async () =>
    [...(await cambist.metrics()).matchAll(/^cambist_routes_file_valid\{file="(.*)"\} (\d)$/gm)].map(
      ([, file, value]) => `${file} ${value}`,
    );
  return {
    ...setup,
    routes,
    folder,
    series,
    /** Renames the file into place, as an editor does. */
    async write(name: string, text: string) {
      await writeFile(join(cambist.directory, 'new'), text);
      await rename(join(cambist.directory, 'new'), join(folder, name));
    },
    has: (...expected: string[]) =>
      eventually(`the series ${expected}`, async () => (await series()).join() === expected.join()),
    status: async () => (await fetch(`${cambist.adminUrl}/status.json`)).json() as Promise<StatusReport>,
    page: async () => (await fetch(cambist.adminUrl)).text(),
    command: (command: Command, ...args: string[]) => callCommand(command, ['--config', cambist.configFile, ...args]),
  };
}

test('says which file is invalid, since when and why, as files come, change and go', async (t) => {
  const { has, write, status, page, command, folder, routes, cambist } = await start(t);
  await has('billing 0');
  const [missing] = (await status()).teams ?? [];
  assert.equal(missing?.invalid[0]?.cause, 'billing: does not exist: create or mount it');
  await mkdir(folder);
  await has();
  assert.deepEqual((await status()).teams, [{ name: 'billing', open: true, routes: 0, files: 0, invalid: [] }]);
  await write('ledger.yaml', routes);
  await has('billing/ledger.yaml 1');
  const before = Date.now();
  await write(
    'refunds.yaml',
    'routes:\n  - { name: refunds, match: { path: /other }, upstream: "https://<b>.example.com" }\n',
  );
  await has('billing/refunds.yaml 0', 'billing/ledger.yaml 1');
  const { teams: [closed] = [] } = await status();
  const [invalid] = closed?.invalid ?? [];
  assert.deepEqual([closed?.open, closed?.routes, closed?.files], [false, 0, 2]);
  assert.match(invalid?.cause ?? '', /^billing\/refunds\.yaml:2:\d+: routes\[0\]\.match/);
  assert.ok(Date.parse(invalid?.since ?? '') >= before);
  const shown = await page();
  assert.match(
    shown,
    /Requests in the region of <a href="#teams">team <strong>billing<\/strong><\/a> get 503 since <time/,
  );
  assert.match(shown, /<section id="teams"/);
  const report = JSON.parse((await command(doctor, '--json')).stdout);
  const found = report.findings.filter(({ about }: { about: { kind: string } }) => about.kind === 'team');
  assert.deepEqual(
    found.map(({ code, about, why }: Record<string, unknown>) => [code, about, why]),
    [['team_file_invalid', { kind: 'team', name: 'billing' }, `${invalid?.cause}; number of further errors: 1`]],
  );
  const unknown = await command(doctor, '--route', 'billing/ledger');
  assert.match(unknown.stderr, /the routes of "billing" are invalid: ".*refunds\.yaml" has an error/);
  const problem = await cambist.waitForLog(({ msg }) => String(msg).includes('refunds.yaml:2'));
  assert.equal(problem.team, 'billing');
  await write('spaced name.yaml', routes);
  await has('billing/refunds.yaml 0', 'billing/spaced?name.yaml 0', 'billing/ledger.yaml 1');
  await rm(join(folder, 'refunds.yaml'));
  await rm(join(folder, 'spaced name.yaml'));
  await has('billing/ledger.yaml 1');
  assert.equal((await status()).teams?.[0]?.open, true);
  const valid = JSON.parse((await command(doctor, '--json')).stdout);
  assert.ok(valid.findings.some(({ code }: { code: string }) => code === 'team_files_valid'));
});

test('names the team in the log, the audit trail, tail, metrics and the page, with and without a route', async (t) => {
  const { has, write, folder, routes, cambist, call, bearer, command, status, page } = await start(t);
  await mkdir(folder);
  await write('ledger.yaml', routes);
  await has('billing/ledger.yaml 1');
  const headers = await bearer();
  const forwarded = await call({ path: '/billing/ledger', headers });
  assert.equal(forwarded.status, 200);
  const elsewhere = await call({ path: '/billing/other' });
  await write('ledger.yaml', 'routes: [');
  await has('billing/ledger.yaml 0');
  const closed = await call({ path: '/billing/ledger', headers });
  const outside = await call({ path: '/outside' });
  assert.deepEqual([elsewhere.status, closed.status, outside.status], [403, 503, 403]);
  const expected = [
    ['billing/ledger', 'billing', undefined],
    [undefined, 'billing', 'ERR_ROUTE_NOT_FOUND'],
    [undefined, 'billing', 'ERR_ROUTES_INVALID'],
    [undefined, undefined, 'ERR_ROUTE_NOT_FOUND'],
  ];
  const fields = ({ route, team, error }: Record<string, unknown>) => [route, team, error];
  await cambist.waitForLog(({ request_id }) => request_id === outside.requestId);
  const lines = cambist.logs().filter(({ msg }) => msg === 'request');
  assert.deepEqual(lines.map(fields), expected);
  assert.deepEqual(recordsOf('request', readRecords(join(cambist.directory, 'audit.jsonl'))).map(fields), expected);
  const rows = (await command(tail, '--json')).stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as DecisionRow);
  assert.deepEqual(
    rows.map((row) => fields({ ...row })),
    expected,
  );
  const text = (await command(tail)).stdout.split('\n');
  assert.match(text[0] ?? '', / billing\/ledger \(any host, path \/billing\/ledger\) /);
  assert.match(text[2] ?? '', / 503 ERR_ROUTES_INVALID \(no route of billing\)$/);
  assert.equal(await cambist.metric('cambist_requests_total', { route: 'billing/ledger', code: '200' }), 1);
  const failures = (await status()).failures.map(({ error, team }) => [error, team]);
  assert.deepEqual(failures, [
    ['ERR_ROUTE_NOT_FOUND', undefined],
    ['ERR_ROUTES_INVALID', 'billing'],
    ['ERR_ROUTE_NOT_FOUND', 'billing'],
  ]);
  assert.match(await page(), /no route of billing/);
  await write('ledger.yaml', routes);
  await has('billing/ledger.yaml 1');
  assert.match(await page(), /id="route-billing\/ledger"/);
});

test('a change of a team hides no failed reload of the main file, and counts as none', async (t) => {
  const { has, write, folder, routes, cambist, status } = await start(t);
  await mkdir(folder);
  await has();
  await cambist.rewriteConfig('routes: [');
  await cambist.waitForLog(({ msg }) => String(msg).startsWith('config reload failed'));
  await write('ledger.yaml', routes);
  await has('billing/ledger.yaml 1');
  assert.equal(await cambist.metric('cambist_config_last_reload_successful'), 0);
  assert.equal(await cambist.metric('cambist_config_reloads_total', { result: 'success' }), 0);
  assert.equal((await status()).config.last_reload?.result, 'failure');
});
