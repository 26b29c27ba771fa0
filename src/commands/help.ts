import { parseArgs } from 'node:util';
import { nearest } from '../config/nearest.ts';
import { annotationOf, INJECTION_FLAGS } from '../kubernetes/option-sources.ts';
import { OPTION_NAMES, OPTIONS } from '../kubernetes/options.ts';
import { readVersion } from '../version.ts';
import { type Command, EXIT } from './command.ts';
import { type CommandName, USAGES, type Usage } from './usages.ts';

/** `cambist --help`: the commands, and where to find more. */
export function describeProgram(): string {
  const rows = Object.entries(USAGES).map(([name, { does }]) => [name, does] as const);
  return `Usage: cambist [COMMAND] [options]

Exchanges the caller's bearer token for one that is issued for the MCP backend of the request.

Commands:
${columns(rows)}

Run "cambist COMMAND --help" for the arguments, flags and exit codes of a command, with an example.
The config file is --config, else $CAMBIST_CONFIG, else /etc/cambist/cambist.yaml.
Exit codes: 0 success, 1 failure, 2 wrong usage.
`;
}

/** `cambist COMMAND --help`. */
export function describeCommand(name: CommandName): string {
  const usage: Usage = USAGES[name];
  const { synopsis, does, about, positionals = {}, exits, example } = usage;
  const [done, failed] = exits;
  return [
    `Usage: ${`cambist ${name} ${synopsis}`.trimEnd()}\n`,
    `${does.charAt(0).toUpperCase()}${does.slice(1)}.\n${about === undefined ? '' : `${about}\n`}`,
    section('Arguments', Object.entries(positionals)),
    section('Options', describeFlags(usage)),
    name === 'inject' || name === 'webhook' ? describeInjection() : '',
    section('Exit codes', Object.entries({ 0: done, ...(failed && { 1: failed }), 2: 'wrong usage' })),
    `Example:\n  ${example}\n`,
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function describeFlags({ flags }: Usage): [string, string][] {
  return Object.entries(flags).map(([name, { short, placeholder, default: fallback, multiple, help }]) => {
    const shorter = short === undefined ? '' : `-${short}, `;
    const value = placeholder === undefined ? '' : ` ${placeholder}`;
    const more = `${multiple ? '; can be repeated' : ''}${fallback === undefined ? '' : ` (${fallback})`}`;
    return [`${shorter}--${name}${value}`, `${help}${more}`];
  });
}

/** The part that `inject` and `webhook` share. */
export function describeInjection(): string {
  const rows = OPTION_NAMES.map((name): [string, string] => {
    const { placeholder, fallback, help } = OPTIONS[name];
    if (placeholder === undefined) return [`--${name}`, help];
    return [`--${name} ${placeholder}`, fallback === undefined ? help : `${help} (${fallback})`];
  });
  return `${section('Injection options, with their defaults', rows)}
Each option is also an annotation of the pod, which overrides the flag. "none" unsets an optional value.
${OPTION_NAMES.map((name) => `  ${annotationOf(name)}`).join('\n')}
(cambist.dev/proxy-env is "enabled" or "disabled".)
The label cambist.dev/inject: disabled on the pod or the workload opts out.
`;
}

function section(title: string, rows: readonly (readonly [string, string])[]): string {
  return rows.length === 0 ? '' : `${title}:\n${columns(rows)}\n`;
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');
}

/** The message for wrong usage of a command. Node's own suggests `--`, which no command needs. */
export function usageMessage(error: Error & { code?: string }, name: CommandName): string {
  switch (error.code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION': {
      const [, flag] = /'(-[^']*)'/.exec(error.message) ?? [];
      return flag === undefined ? error.message : unknownFlag(flag, name);
    }
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL': {
      const [, argument] = /^[^']*'(.*)'/.exec(error.message) ?? [];
      return argument === undefined ? error.message : unexpected(argument, name);
    }
    case 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE': {
      const [, flag] = /^Option '(?:-\w, )?(--[\w-]+) <value>' argument missing/.exec(error.message) ?? [];
      return flag === undefined ? error.message : `the flag "${flag}" needs a value`;
    }
    default:
      return error.message;
  }
}

function unexpected(argument: string, name: CommandName): string {
  // The user may have written `cambist --config FILE validate`: without a command, the arguments are those of `run`.
  if (name === 'run' && argument !== name && Object.hasOwn(USAGES, argument))
    return `unexpected "${argument}": write the command before its flags`;
  const hint =
    'config' in USAGES[name].flags ? ': name the config file by --config' : ', which this command does not take';
  return `unexpected argument "${argument}"${hint}`;
}

function unknownFlag(flag: string, name: CommandName): string {
  const usage: Usage = USAGES[name];
  const flags = name === 'inject' || name === 'webhook' ? { ...INJECTION_FLAGS, ...usage.flags } : usage.flags;
  const meant = flag.startsWith('--') ? nearest(flag.slice(2), Object.keys(flags)) : undefined;
  return `unknown flag "${flag}"${meant === undefined ? '' : `: did you mean "--${meant}"?`}`;
}

export const version: Command = async (args) => {
  parseArgs({ args: [...args], options: USAGES.version.flags });
  console.log(readVersion());
  return EXIT.done;
};
