import { parseArgs } from 'node:util';
import { jsonSchema } from '../config/config.ts';
import { type Command, EXIT } from './command.ts';
import { USAGES } from './usages.ts';

/**
 * Prints the JSON Schema of the config file, or of audit records. `config/cambist.schema.json` and `config/audit.schema.json` are
 * the same texts.
 */
export const schema: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.schema.flags });
  const printed = values.audit === true ? await auditSchema() : jsonSchema();
  console.log(JSON.stringify(printed, null, 2));
  return EXIT.done;
};

async function auditSchema(): Promise<Record<string, unknown>> {
  const { recordJsonSchema } = await import('../audit/record-schema.ts');
  return recordJsonSchema();
}
