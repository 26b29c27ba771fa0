import { parseArgs } from 'node:util';
import { nearest } from '../documents/nearest.ts';
import { INJECTION_FLAGS } from '../kubernetes/option-sources.ts';
import { OPTIONS } from '../kubernetes/options.ts';
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
  const { synopsis, does, about, positionals = {}, flags, exits, example } = usage;
  const [done, failed] = exits;
  return [
    `Usage: ${`cambist ${name} ${synopsis}`.trimEnd()}\n`,
    `${does.charAt(0).toUpperCase()}${does.slice(1)}.\n${about === undefined ? '' : `${about}\n`}`,
    section('Arguments', Object.entries(positionals)),
    section('Options', describeFlags(flags)),
    name === 'inject' || name === 'webhook' ? describeInjection() : '',
    section('Exit codes', Object.entries({ 0: done, ...(failed && { 1: failed }), 2: 'wrong usage' })),
    `Example:\n  ${example}\n`,
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function describeFlags(flags: Usage['flags']): [string, string][] {
  return Object.entries(flags).map(([name, { short, placeholder, default: fallback, multiple, help }]) => {
    const shorter = short === undefined ? '' : `-${short}, `;
    const value = placeholder === undefined ? '' : ` ${placeholder}`;
    const more = `${multiple ? '; can be repeated' : ''}${fallback === undefined ? '' : ` (${fallback})`}`;
    return [`${shorter}--${name}${value}`, `${help}${more}`];
  });
}

/** The part that `inject` and `webhook` share. */
export function describeInjection(): string {
  return `${section('Injection options, with their defaults', describeFlags(OPTIONS))}
Each option is also an annotation of the pod, cambist.dev/OPTION, which overrides the flag. "none" unsets an
optional value. cambist.dev/proxy-env is "enabled" or "disabled".
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

/** The message of `parseArgs`, without its advice on `--`, and with the flag that may be meant. */
export function usageMessage({ message }: Error, name: CommandName): string {
  const [problem = ''] = message.split('. To specify');
  // Many commands of other programs take the file as an argument.
  if ('config' in USAGES[name].flags && problem.startsWith('Unexpected argument'))
    return `${problem}: name the config file by --config, after the command`;
  const [, flag = ''] = /^Unknown option '--([^']+)'/.exec(message) ?? [];
  const flags =
    name === 'inject' || name === 'webhook' ? { ...INJECTION_FLAGS, ...USAGES[name].flags } : USAGES[name].flags;
  const meant = nearest(flag, Object.keys(flags));
  return meant === undefined ? problem : `${problem}: did you mean "--${meant}"?`;
}

export const version: Command = async (args) => {
  parseArgs({ args: [...args], options: USAGES.version.flags });
  console.log(readVersion());
  return EXIT.done;
};
