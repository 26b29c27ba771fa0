import { type Command, EXIT, UsageError } from './commands/command.ts';
import type { CommandName } from './commands/usages.ts';

/** A command is loaded when it is called, so it does not wait for the modules of the others. */
const COMMANDS: Readonly<Record<CommandName, () => Promise<Command>>> = {
  init: async () => (await import('./commands/init.ts')).init,
  run: async () => (await import('./commands/run.ts')).run,
  exec: async () => (await import('./commands/exec.ts')).exec,
  validate: async () => (await import('./commands/validate.ts')).validate,
  explain: async () => (await import('./commands/explain.ts')).explain,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  revoke: async () => (await import('./commands/revoke.ts')).revoke,
  tail: async () => (await import('./commands/tail.ts')).tail,
  snippet: async () => (await import('./commands/snippet.ts')).snippet,
  inject: async () => (await import('./commands/inject.ts')).inject,
  uninject: async () => (await import('./commands/inject.ts')).uninject,
  webhook: async () => (await import('./commands/webhook.ts')).webhook,
  'gen-certs': async () => (await import('./commands/gen-certs.ts')).genCerts,
  schema: async () => (await import('./commands/validate.ts')).schema,
  version: async () => (await import('./commands/help.ts')).version,
};

async function main(args: readonly string[]): Promise<number> {
  const [first] = args;
  if (first === '--version') return (await import('./commands/help.ts')).version([]);
  if (first === 'help') return help(args[1]);
  const named = first === undefined || first.startsWith('-') ? undefined : first;
  // Arguments after "--" belong to another program.
  const own = args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
  if (own.includes('--help') || own.includes('-h')) return help(named);
  const command = await COMMANDS[await commandName(named ?? 'run')]();
  return command(named === undefined ? args : args.slice(1));
}

/** @param named the command; undefined for the general help */
async function help(named: string | undefined): Promise<number> {
  const { describeCommand, describeProgram } = await import('./commands/help.ts');
  process.stdout.write(named === undefined ? describeProgram() : describeCommand(await commandName(named)));
  return EXIT.done;
}

async function commandName(named: string): Promise<CommandName> {
  if (isCommand(named)) return named;
  const { nearest } = await import('./documents/nearest.ts');
  const meant = nearest(named, Object.keys(COMMANDS));
  throw new UsageError(`unknown command "${named}"${meant === undefined ? '' : `: did you mean "${meant}"?`}`);
}

function isCommand(named: string | undefined): named is CommandName {
  return named !== undefined && Object.hasOwn(COMMANDS, named);
}

/** `parseArgs` marks its errors with these codes. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true;
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_');
}

// Without a listener, Node opens its debugger at this signal, which any process of the same user can send.
process.on('SIGUSR1', () => {});

// A closed pipe, as with `| head -1`, changes neither the work of a command nor its exit code.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

const [, , ...args] = process.argv;
main(args).then(
  (code) => {
    process.exitCode = code;
  },
  async (error: unknown) => {
    if (!isUsageError(error)) throw error;
    const [first] = args;
    const { usageMessage } = await import('./commands/help.ts');
    const message = usageMessage(error, isCommand(first) ? first : 'run');
    console.error(`cambist: ${message}\nTry "cambist ${isCommand(first) ? `${first} ` : ''}--help".`);
    process.exitCode = EXIT.usage;
  },
);
