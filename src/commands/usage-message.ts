import { nearest } from '../config/nearest.ts';
import { INJECTION_FLAGS } from '../kubernetes/flags.ts';
import { type CommandName, USAGES, type Usage } from './usages.ts';

/** The message for wrong usage of a command. Node's own suggests `--`, which no command needs. */
export function usageMessage(error: Error & { code?: string }, name: CommandName): string {
  switch (error.code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION': {
      const [, flag] = /'(-[^']*)'/.exec(error.message) ?? [];
      return flag === undefined ? error.message : unknownFlag(flag, name);
    }
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL':
      return 'config' in USAGES[name].flags ? `${error.message}: name the config file by --config` : error.message;
    default:
      return error.message;
  }
}

function unknownFlag(flag: string, name: CommandName): string {
  const usage: Usage = USAGES[name];
  const flags = name === 'inject' || name === 'webhook' ? { ...INJECTION_FLAGS, ...usage.flags } : usage.flags;
  const meant = flag.startsWith('--') ? nearest(flag.slice(2), Object.keys(flags)) : undefined;
  return `unknown flag "${flag}"${meant === undefined ? '' : `: did you mean "--${meant}"?`}`;
}
