import assert from 'node:assert/strict';
import { executionAsyncResource } from 'node:async_hooks';
import { test } from 'node:test';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { genCerts } from '../../../src/commands/gen-certs.ts';
import { describeCommand, describeInjection, describeProgram, usageMessage } from '../../../src/commands/help.ts';
import { type Answers, newConfig, SECRET_IN_POD } from '../../../src/commands/init.ts';
import { inject, uninject } from '../../../src/commands/inject.ts';
import { heldTicks, holdTickShape } from '../../../src/commands/run.ts';
import { type CommandName, USAGES, type Usage } from '../../../src/commands/usages.ts';
import { webhook } from '../../../src/commands/webhook.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../../../src/kubernetes/option-sources.ts';
import { OPTION_NAMES, OPTIONS } from '../../../src/kubernetes/options.ts';

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
    const help = describeCommand(name);
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

const UNEXPECTED = `Unexpected argument 'x.yaml'. This command does not take positional arguments`;

test('says what is wrong with flags and arguments, and suggests what may be meant', () => {
  for (const [name, args, message] of [
    ['validate', '--jsno', `Unknown option '--jsno': did you mean "--json"?`],
    ['doctor', '--subject-token x', `Unknown option '--subject-token': did you mean "--subject-token-file"?`],
    ['doctor', '--subject-token-flie=x', `Unknown option '--subject-token-flie': did you mean "--subject-token-file"?`],
    ['webhook', '--agnet-image x', `Unknown option '--agnet-image'`],
    ['inject', '--imgae x', `Unknown option '--imgae': did you mean "--image"?`],
    ['validate', '--port', `Unknown option '--port'`],
    ['validate', '-x', `Unknown option '-x'`],
    ['schema', 'x', `Unexpected argument 'x'. This command does not take positional arguments`],
    ['validate', 'x.yaml', `${UNEXPECTED}: name the config file by --config, after the command`],
    ['validate', '--config', `Option '--config <value>' argument missing`],
    ['explain', '-X', `Option '-X, --request <value>' argument missing`],
  ] as const) {
    assert.equal(messageFor(name, ...args.split(' ')), message);
  }
  assert.match(messageFor('validate', '--config', '--json'), /--config/);
});

const ANSWERS: Answers = {
  config: 'cambist.yaml',
  route: 'mine',
  backend: 'https://mcp.example.com/mcp',
  issuer: 'https://idp.example.com/realms/agents',
};

function configOf(answers: Partial<Answers>) {
  const { config, problems } = parseConfig(newConfig({ ...ANSWERS, ...answers }), 'cambist.yaml');
  assert.deepEqual(problems, []);
  const { routes: [route] = [], authorizationServers: [server] = [], ...others } = config ?? assert.fail();
  assert.ok(route !== undefined && server !== undefined);
  return { ...others, route, server };
}

test('writes a valid config with what was chosen', () => {
  const { listen, admin, route, server } = configOf({ audience: 'mcp', scope: 'read write' });
  assert.deepEqual(listen, { kind: 'tcp', host: '127.0.0.1', port: 8180 });
  assert.deepEqual(admin, { kind: 'tcp', host: '127.0.0.1', port: 9180 });
  assert.deepEqual([server.issuer, server.clientId], [ANSWERS.issuer, 'cambist']);
  assert.deepEqual([route.name, route.match.path], ['mine', '/mine']);
  const target = route.credential.kind === 'exchange' ? route.credential.target : undefined;
  assert.deepEqual([target?.audience, target?.scope], [['mcp'], 'read write']);
});

test('for a pod, opens the admin port for probes and takes the secret from a file', () => {
  const { admin, limits, server } = configOf({ pod: true });
  assert.equal(admin.kind === 'tcp' && admin.host, '0.0.0.0');
  assert.equal(limits.maxInFlight, 500);
  assert.ok(server.clientAuth.method === 'client_secret_basic');
  assert.deepEqual(server.clientAuth.clientSecret, { file: SECRET_IN_POD });
});

test('for a gateway, serves TLS and limits the route to the agent with the service account', () => {
  const { listen, admin, agents, route } = configOf({ gateway: 'team-a/billing.v2' });
  assert.ok(listen.kind === 'tcp' && listen.tls !== undefined);
  assert.equal(admin.kind === 'tcp' && admin.host, '0.0.0.0');
  const known = agents?.known.map(({ name, serviceAccount }) => [name, serviceAccount]);
  assert.deepEqual(known, [['billing-v2', 'team-a/billing.v2']]);
  assert.deepEqual([route.agents, route.match.host], [['billing-v2'], 'cambist-gateway.agents.svc']);
  assert.equal(route.subjectToken.verify?.issuer, ANSWERS.issuer);
});

test('quotes values so that none adds a key or a line', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'binary' }), fc.string(), (audience, file) => {
      const { config, problems } = parseConfig(
        newConfig({ ...ANSWERS, audience, 'secret-file': file }),
        'cambist.yaml',
      );
      for (const { path } of problems) assert.match(path, /^routes\[0\]\.audience|client_secret/);
      const credential = config?.routes[0]?.credential;
      if (credential?.kind === 'exchange') assert.deepEqual(credential.target.audience, [audience]);
    }),
  );
});

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
  const options = optionsFromFlags({ image: 'i', 'proxy-env': true, help: true, cert: 'c' });
  assert.deepEqual(options, { image: 'i', 'proxy-env': 'enabled' });
});

test('the help has one line of at most 110 characters for each option', () => {
  const lines = describeInjection().split('\n');
  for (const line of lines) assert.ok(line.length <= 110, line);
  for (const name of OPTION_NAMES) {
    assert.ok(lines.some((line) => line.includes(`--${name}`) && line.includes(OPTIONS[name].help)));
  }
});

test('what is held has the shape of each object that process.nextTick makes', async () => {
  holdTickShape();
  const another = await new Promise<object>((resolve) => process.nextTick(() => resolve(executionAsyncResource())));
  const [held] = heldTicks;
  assert.ok(held !== undefined && held !== another);
  assert.deepEqual(Reflect.ownKeys(held), Reflect.ownKeys(another));
  assert.ok(Reflect.ownKeys(another).includes('callback'));
});
