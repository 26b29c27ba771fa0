import assert from 'node:assert/strict';
import { parse } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';

/** Every problem has a place in the text, and a config means the same in JSON. Input: a file. */
export function fuzz(data: Buffer): void {
  const text = data.toString('utf8');
  const { config, problems } = parseConfig(text, 'cambist.yaml');
  const lines = text.split(/\r\n|\r|\n/).length;
  for (const { line, column, message, severity } of problems) {
    assert.ok(line >= 0 && line <= lines + 1, `line ${line} of ${lines}: ${message}`);
    assert.ok(column >= 0);
    assert.ok(message.length > 0);
    assert.ok(severity === 'error' || severity === 'warning');
  }
  const hasErrors = problems.some(({ severity }) => severity === 'error');
  assert.equal(config === undefined, hasErrors, 'a config with errors is served, or one without is not');
  if (config === undefined) return;
  assert.deepEqual(parseConfig(text, 'cambist.yaml').config, config);
  const json = JSON.stringify(parse(text, { merge: true }));
  assert.deepEqual(parseConfig(json, 'cambist.yaml').config, config, 'the config means something else in JSON');
}
