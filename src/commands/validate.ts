import { parseArgs } from 'node:util';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatProblem, type Problem } from '../config/problem.ts';
import { type Command, configFile, EXIT } from './command.ts';
import { USAGES } from './usages.ts';

/** Checks a config file and reports every problem, in the order of the file. The exit code is 1 if one is an error. */
export const validate: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.validate.flags });
  const file = configFile(values.config);
  const { config, problems } = await loadConfig(file);
  if (values.json) {
    console.log(JSON.stringify({ file, valid: config !== undefined, ...counts(config), problems }, null, 2));
  } else {
    for (const problem of problems) console.log(formatProblem(problem));
    console.log(`${file}: ${summary(config, problems)}`);
  }
  return config === undefined ? EXIT.failed : EXIT.done;
};

function counts(config: Config | undefined) {
  return { routes: config?.routes.length, authorization_servers: config?.authorizationServers.length };
}

function summary(config: Config | undefined, problems: readonly Problem[]): string {
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const warnings = problems.length - errors;
  const found = [errors > 0 ? count(errors, 'error') : '', warnings > 0 ? count(warnings, 'warning') : ''];
  const parts = found.filter((part) => part !== '').join(', ');
  if (config === undefined) return parts;
  const { routes, authorizationServers } = config;
  const valid = `valid: ${count(routes.length, 'route')}, ${count(authorizationServers.length, 'authorization server')}`;
  return parts === '' ? valid : `${valid}; ${parts}`;
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}
