import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArgs } from 'node:util';
import { usageMessage } from '../../../src/commands/usage-message.ts';
import { type CommandName, USAGES } from '../../../src/commands/usages.ts';

function messageFor(name: CommandName, ...args: string[]): string {
  try {
    parseArgs({ args, options: USAGES[name].flags });
  } catch (error) {
    assert.ok(error instanceof Error);
    return usageMessage(error, name);
  }
  return assert.fail('the arguments are valid');
}

test('suggests the nearest flag of the command', () => {
  assert.equal(messageFor('validate', '--jsno'), 'unknown flag "--jsno": did you mean "--json"?');
  assert.equal(
    messageFor('doctor', '--subject-token', 'x'),
    'unknown flag "--subject-token": did you mean "--subject-token-file"?',
  );
  assert.equal(
    messageFor('doctor', '--subject-token-flie=x'),
    'unknown flag "--subject-token-flie": did you mean "--subject-token-file"?',
  );
  assert.equal(messageFor('webhook', '--agnet-image', 'x'), 'unknown flag "--agnet-image"');
  assert.equal(messageFor('inject', '--imgae', 'x'), 'unknown flag "--imgae": did you mean "--image"?');
});

test('suggests nothing if no flag is near, or for a short flag', () => {
  assert.equal(messageFor('validate', '--port'), 'unknown flag "--port"');
  assert.equal(messageFor('validate', '-x'), 'unknown flag "-x"');
});

test('suggests --config for an argument if the command has a config', () => {
  assert.match(messageFor('validate', 'cambist.yaml'), /: name the config file by --config$/);
  assert.doesNotMatch(messageFor('schema', 'cambist.yaml'), /--config/);
});

test("keeps Node's message for a missing value", () => {
  assert.match(messageFor('validate', '--config'), /--config <value>/);
});
