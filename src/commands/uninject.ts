import { parseArgs } from 'node:util';
import { uninjectPod } from '../kubernetes/pod-restoration.ts';
import type { Command } from './command.ts';
import { changeAll } from './inject.ts';
import { USAGES } from './usages.ts';

/** Takes out of the manifests what `inject` has put into them. */
export const uninject: Command = async (args) => {
  const options = USAGES.uninject.flags;
  const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  return changeAll(positionals, uninjectPod);
};
