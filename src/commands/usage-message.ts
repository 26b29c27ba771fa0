import { nearest } from '../config/nearest.ts';
import { INJECTION_FLAGS } from '../kubernetes/option-sources.ts';
import { type CommandName, USAGES, type Usage } from './usages.ts';

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
