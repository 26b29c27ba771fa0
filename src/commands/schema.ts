import { parseArgs } from 'node:util';
import { jsonSchema } from '../config/schema.ts';
import { type Command, EXIT } from './command.ts';
import { USAGES } from './usages.ts';

/** Prints the JSON Schema of the config file; `config/cambist.schema.json` is the same text. */
export const schema: Command = async (args) => {
  parseArgs({ args: [...args], options: USAGES.schema.flags });
  console.log(JSON.stringify(jsonSchema(), null, 2));
  return EXIT.done;
};
