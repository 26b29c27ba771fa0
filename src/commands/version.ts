import { parseArgs } from 'node:util';
import { readVersion } from '../version.ts';
import { type Command, EXIT } from './command.ts';

export const version: Command = async (args) => {
  parseArgs({ args: [...args], options: {} });
  console.log(readVersion());
  return EXIT.done;
};
