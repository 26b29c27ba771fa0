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
  const expected = 'unexpected argument "cambist.yaml": name the config file by --config';
  assert.equal(messageFor('validate', 'cambist.yaml'), expected);
  assert.equal(messageFor('schema', 'x'), 'unexpected argument "x", which this command does not take');
});

test('says where a command belongs', () => {
  assert.equal(
    messageFor('run', '--config', 'c', 'validate'),
    'unexpected "validate": write the command before its flags',
  );
  for (const argument of ['doctor', 'toString']) {
    assert.match(messageFor('validate', argument), /: name the config file by --config$/);
  }
});

test('names a flag without its value', () => {
  assert.equal(messageFor('validate', '--config'), 'the flag "--config" needs a value');
  assert.equal(messageFor('explain', '-X'), 'the flag "--request" needs a value');
  assert.match(messageFor('validate', '--config', '--json'), /--config/);
});
