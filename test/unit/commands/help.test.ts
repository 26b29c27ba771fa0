import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArgs } from 'node:util';
import { describeCommand, describeProgram, usageMessage } from '../../../src/commands/help.ts';
import { type CommandName, USAGES, type Usage } from '../../../src/commands/usages.ts';
import { INJECTION_FLAGS } from '../../../src/kubernetes/option-sources.ts';

const COMMANDS = Object.entries(USAGES) as [CommandName, Usage][];

const TERMINAL_WIDTH = 120;

/** Splits a command line as a shell does, as far as the examples need it. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|([^ ']+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
}

function flagsOf(name: CommandName): Usage['flags'] | typeof INJECTION_FLAGS {
  return name === 'inject' || name === 'webhook' ? { ...INJECTION_FLAGS, ...USAGES[name].flags } : USAGES[name].flags;
}

test('the general help has one line for each command, and points to its help', () => {
  const help = describeProgram();
  for (const [name, { does }] of COMMANDS) {
    assert.match(help, new RegExp(`^ {2}${name} +${does.replace(/[.?()]/g, '\\$&')}$`, 'm'));
  }
  assert.match(help, /cambist COMMAND --help/);
});

for (const [name, usage] of COMMANDS) {
  test(`the help of ${name} lists all flags and exit codes, with an example`, async () => {
    const help = await describeCommand(name);
    assert.ok(help.startsWith(`Usage: ${`cambist ${name} ${usage.synopsis}`.trimEnd()}\n`));
    for (const flag of Object.keys(flagsOf(name))) assert.match(help, new RegExp(`^ {2}(-., )?--${flag}( |$)`, 'm'));
    for (const code of usage.exits.keys()) assert.match(help, new RegExp(`^ {2}${code}  `, 'm'));
    assert.match(help, /^ {2}2 {2}wrong usage$/m);
    assert.ok(help.endsWith(`\nExample:\n  ${usage.example}\n`));
    for (const line of help.split('\n')) assert.ok(line.length <= TERMINAL_WIDTH, line);
  });

  test(`the example of ${name} parses, and its synopsis names no unknown flag`, () => {
    const [program, command, ...args] = words(usage.example.replace(/ [>|].*/, ''));
    assert.deepEqual([program, command], ['cambist', name]);
    const allowPositionals = usage.positionals !== undefined;
    const { positionals } = parseArgs({ args, options: flagsOf(name), allowPositionals });
    assert.equal(positionals.length > 0, allowPositionals);
    const shorts = Object.values(usage.flags).map(({ short }) => `-${short}`);
    for (const [flag] of usage.synopsis.matchAll(/(?<!\w)--?[a-zA-Z][a-zA-Z-]*/g)) {
      assert.ok(shorts.includes(flag) || flag.slice(2) in flagsOf(name), flag);
    }
  });
}

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
