import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { UsageError } from '../../../src/commands/command.ts';
import { logLevelOf } from '../../../src/commands/log-level.ts';
import { parseConfig } from '../../../src/config/load.ts';

const { config } = parseConfig(
  'version: 1\nlog: { level: warn }\nroutes: [{ name: a, match: { path: /a }, upstream: http://a:1, credential: none }]',
  'cambist.yaml',
);

function withVariable(t: TestContext, value: string | undefined): void {
  const before = process.env.CAMBIST_LOG_LEVEL;
  t.after(() => {
    if (before === undefined) delete process.env.CAMBIST_LOG_LEVEL;
    else process.env.CAMBIST_LOG_LEVEL = before;
  });
  if (value === undefined) delete process.env.CAMBIST_LOG_LEVEL;
  else process.env.CAMBIST_LOG_LEVEL = value;
}

test('takes the log level from the config', (t) => {
  withVariable(t, undefined);
  assert.ok(config);
  assert.equal(logLevelOf(config), 'warn');
});

test('CAMBIST_LOG_LEVEL overrides the config', (t) => {
  withVariable(t, 'debug');
  assert.ok(config);
  assert.equal(logLevelOf(config), 'debug');
});

test('refuses an invalid CAMBIST_LOG_LEVEL', (t) => {
  withVariable(t, 'loud');
  assert.ok(config);
  assert.throws(() => logLevelOf(config), UsageError);
});
