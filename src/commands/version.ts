import { readVersion } from '../version.ts';
import { type Command, EXIT } from './command.ts';

export const version: Command = async () => {
  console.log(readVersion());
  return EXIT.done;
};
