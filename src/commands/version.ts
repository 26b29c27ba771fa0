import { parseArgs } from 'node:util';
import { readVersion } from '../version.ts';
import { type Command, EXIT } from './command.ts';
import { USAGES } from './usages.ts';

export const version: Command = async (args) => {
  parseArgs({ args: [...args], options: USAGES.version.flags });
  console.log(readVersion());
  return EXIT.done;
};
