import { parseArgs } from 'node:util';
import { restoreStream } from '../kubernetes/stream-restoration.ts';
import type { Command } from './command.ts';
import { changeAll } from './inject.ts';
import { USAGES } from './usages.ts';

/** Removes from manifests what `inject` added, and restores what it replaced. */
export const uninject: Command = async (args) => {
  const options = USAGES.uninject.flags;
  const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  return changeAll(positionals, () => ({ change: restoreStream }), { dropsPrinted: true });
};
