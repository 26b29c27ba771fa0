import assert from 'node:assert/strict';
import { test } from 'node:test';
import { genCerts } from '../../../src/commands/gen-certs.ts';
import { inject } from '../../../src/commands/inject.ts';
import { uninject } from '../../../src/commands/uninject.ts';
import { webhook } from '../../../src/commands/webhook.ts';
import { describeInjection, writtenOptions } from '../../../src/kubernetes/flags.ts';
import { OPTION_NAMES, OPTION_TEXTS } from '../../../src/kubernetes/options.ts';

test('a command that is told nothing to work on is wrongly used', async () => {
  for (const [command, args] of [
    [inject, []],
    [uninject, []],
    [genCerts, ['--trust', 'ca.crt']],
    [webhook, []],
  ] as const) {
    await assert.rejects(command(args), (error: Error) => error.constructor.name === 'UsageError');
    await assert.rejects(command(['--no-such-flag']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
  }
});

test('a default of the webhook that is not possible is found at its start', async () => {
  const pair = ['--cert', '/nowhere', '--key', '/nowhere'];
  await assert.rejects(webhook([...pair, '--sidecar', 'none']), /--sidecar is "none": write native, classic/);
});

test('flags become options; one without a value enables', () => {
  assert.deepEqual(writtenOptions({ image: 'i', 'proxy-env': true, help: true, cert: 'c' }), {
    image: 'i',
    'proxy-env': 'enabled',
  });
});

test('the help has a line for each option, as wide as a terminal at most', () => {
  const lines = describeInjection().split('\n');
  for (const line of lines) assert.ok(line.length <= 110, line);
  for (const name of OPTION_NAMES)
    assert.ok(lines.some((line) => line.includes(`--${name}`) && line.includes(OPTION_TEXTS[name].help)));
});
