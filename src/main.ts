#!/usr/bin/env node
import { type Command, EXIT, UsageError } from './commands/command.ts';

/** Loaded when called, so that a command does not wait for the parts of another. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./commands/run.ts')).run,
  validate: async () => (await import('./commands/validate.ts')).validate,
  explain: async () => (await import('./commands/explain.ts')).explain,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  inject: async () => (await import('./commands/inject.ts')).inject,
  uninject: async () => (await import('./commands/uninject.ts')).uninject,
  webhook: async () => (await import('./commands/webhook.ts')).webhook,
  'gen-certs': async () => (await import('./commands/gen-certs.ts')).genCerts,
  schema: async () => (await import('./commands/schema.ts')).schema,
  version: async () => (await import('./commands/version.ts')).version,
};

const HELP = `Usage: cambist [command] [options]

Exchanges the caller's bearer token for one made for the MCP backend that a request goes to.

Commands:
  run [--config F] [--log-format auto|json|text]
                                   run the proxy (the default)
  validate [--config F] [--json]   check a config file; every problem at once
  explain [--config F] [--json] [-X METHOD] [-H 'name: value']... URL
                                   which route a request takes, and which token request it leads to
  doctor [--config F] [--subject-token-file F] [--route N] [--json]
                                   ask the authorization servers, and try one exchange per route
  inject [options] FILE... | -     put cambist into the pods of Kubernetes manifests; see inject --help
  uninject FILE... | -             take it out of them again
  webhook --cert F --key F [options]
                                   inject it into pods as they are created; see webhook --help
  gen-certs [options] FILE... | -  make the webhook's certificate, without cert-manager; see gen-certs --help
  schema                           print the JSON Schema of the config file
  version                          print the version

The config file is --config, else $CAMBIST_CONFIG, else /etc/cambist/cambist.yaml.
Exit codes: 0 done, 1 what was asked failed, 2 wrong usage.
`;

/** Commands whose options are too many for the text above. */
const HELPS_ITSELF: ReadonlySet<string> = new Set(['inject', 'uninject', 'webhook', 'gen-certs']);

async function main(args: readonly string[]): Promise<number> {
  const [first] = args;
  const asksForHelp = args.includes('--help') || args.includes('-h');
  if (first === 'help' || (asksForHelp && !HELPS_ITSELF.has(first ?? ''))) {
    process.stdout.write(HELP);
    return EXIT.done;
  }
  if (first === '--version') return (await import('./commands/version.ts')).version([]);
  const named = first !== undefined && !first.startsWith('-');
  const load = COMMANDS[named ? first : 'run'];
  if (load === undefined) throw new UsageError(`unknown command "${first}"`);
  const command = await load();
  return command(named ? args.slice(1) : args);
}

/** `parseArgs` marks its errors with codes of this family. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true;
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_');
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!isUsageError(error)) throw error;
  console.error(`cambist: ${error.message}\nTry "cambist --help".`);
  process.exitCode = EXIT.usage;
}
