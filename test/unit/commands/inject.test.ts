import assert from 'node:assert/strict';
import { test } from 'node:test';
import { genCerts } from '../../../src/commands/gen-certs.ts';
import { inject, uninject } from '../../../src/commands/inject.ts';
import { webhook } from '../../../src/commands/webhook.ts';
import { describeInjection, optionsFromFlags } from '../../../src/kubernetes/option-sources.ts';
import { OPTION_NAMES, OPTION_TEXTS } from '../../../src/kubernetes/options.ts';

test('refuses a command without its required arguments', async () => {
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

test('the webhook refuses an invalid injection flag at its start', async () => {
  const pair = ['--cert', '/nowhere', '--key', '/nowhere'];
  await assert.rejects(webhook([...pair, '--sidecar', 'none']), /--sidecar is "none": must be one of native, classic/);
});

test('reads options from flags; a flag without a value enables its option', () => {
  assert.deepEqual(optionsFromFlags({ image: 'i', 'proxy-env': true, help: true, cert: 'c' }), {
    image: 'i',
    'proxy-env': 'enabled',
  });
});

test('the help has one line of at most 110 characters for each option', () => {
  const lines = describeInjection().split('\n');
  for (const line of lines) assert.ok(line.length <= 110, line);
  for (const name of OPTION_NAMES)
    assert.ok(lines.some((line) => line.includes(`--${name}`) && line.includes(OPTION_TEXTS[name].help)));
});
