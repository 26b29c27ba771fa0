import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { startFakeSetup } from '../../harness/fake-setup.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';
import { prometheusProgram, QUICKENED, quicken, readRuleGroups } from './rules.ts';

interface RuleTests {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[];
  }[];
}

const RULE_TESTS = new URL('./rules/', import.meta.url);
const RULES_FILE = 'cambist.rules.yaml';

const groups = readRuleGroups();
const testFiles = readdirSync(RULE_TESTS);
const directory = temporaryFolder({ after });
cpSync(RULE_TESTS, directory, { recursive: true });
writeFileSync(join(directory, RULES_FILE), stringify({ groups }));

const promtool = async (...args: string[]): Promise<string> =>
  succeeded(await runProgram(prometheusProgram('promtool'), args, { cwd: directory }));

test('promtool accepts the rules, all of them', async () => {
  const count = groups.flatMap(({ rules }) => rules).length;
  assert.match(
    await promtool('check', 'rules', '--lint-fatal', RULES_FILE),
    new RegExp(`SUCCESS: ${count} rules found`),
  );
});

test('promtool accepts the quickened rules', async () => {
  writeFileSync(join(directory, 'quickened.rules.yaml'), stringify({ groups: quicken(groups, QUICKENED) }));
  assert.match(await promtool('check', 'rules', '--lint-fatal', 'quickened.rules.yaml'), /SUCCESS/);
});

for (const file of testFiles) {
  test(`the rules pass test/external/prometheus/rules/${file}`, async () => {
    assert.match(await promtool('test', 'rules', file), /SUCCESS/);
  });
}

test('every alert has a case in which it fires and one in which it does not', () => {
  const cases = testFiles
    .map((file) => parse(readFileSync(new URL(file, RULE_TESTS), 'utf8')) as RuleTests)
    .flatMap(({ tests }) => tests.flatMap(({ alert_rule_test }) => alert_rule_test));
  const named = (fires: boolean) =>
    new Set(cases.filter(({ exp_alerts }) => exp_alerts.length > 0 === fires).map(({ alertname }) => alertname));
  const alerts = new Set(groups.flatMap(({ rules }) => rules.map(({ alert }) => alert)));
  assert.deepEqual([...named(true)].sort(), [...alerts].sort());
  assert.deepEqual([...named(false)].sort(), [...alerts].sort());
});

test('promtool accepts /metrics after requests, refusals and failures', async (t) => {
  const setup = await startFakeSetup(t);
  await setup.call({ headers: await setup.bearer() });
  await setup.call();
  await setup.call({ path: '/nowhere' });
  setup.authorizationServer.behaviour = { kind: 'response', status: 503 };
  await setup.call({ headers: await setup.bearer() });
  const checked = await runProgram(prometheusProgram('promtool'), ['check', 'metrics'], {
    input: await setup.cambist.metrics(),
  });
  assert.deepEqual(checked, { code: 0, stdout: '', stderr: '' });
});
