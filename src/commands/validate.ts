import { parseArgs } from 'node:util';
import { type Config, jsonSchema } from '../config/config.ts';
import { checkConfig, type LoadedConfig } from '../config/load.ts';
import { byPosition, type Problem } from '../documents/config-node.ts';
import { readConfigText } from '../documents/config-text.ts';
import { readDocument } from '../documents/document.ts';
import { getIn, type Json } from '../kubernetes/json.ts';
import { readStream } from '../kubernetes/manifest-stream.ts';
import { CONFIG_KEY, configMapsIn } from '../kubernetes/pod-config.ts';
import { printable, printableJson } from '../observability/printable.ts';
import { readTeams } from '../teams/team-files.ts';
import { type Command, configFile, counted, countOf, EXIT, UsageError } from './command.ts';
import { describeProblem } from './report-problems.ts';
import { USAGES } from './usages.ts';
import { teamProblems, validateTeam } from './validate-team.ts';

/** A validated config, and the entry of a ConfigMap that contains it, if one does. */
interface Validated extends LoadedConfig {
  readonly entry?: ConfigMapEntry;
}

/**
 * Checks a config file, or the configs in a Kubernetes manifest, and reports every problem in the order of the file. The exit
 * code is 1 if one is an error.
 */
export const validate: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.validate.flags });
  const file = configFile(values.config);
  const { routes: folder, as: name } = values;
  if ((folder === undefined) !== (name === undefined)) throw new UsageError('--routes and --as belong together');
  const read = await readConfigText(file);
  const validated: readonly Validated[] =
    'problem' in read
      ? [failed(file, read.problem)]
      : folder === undefined || name === undefined
        ? await validateText(read.text, file)
        : [await validateTeam(read.text, file, folder, name)];
  const valid = validated.every(({ config, problems }) => config !== undefined && problems.every(isWarning));
  if (values.json) {
    console.log(printableJson(report(file, valid, validated), 2));
  } else {
    for (const { config, problems, entry } of validated) {
      for (const problem of problems) console.log(describeProblem(problem));
      // The config of a team, once it is valid, is not what the team asks about.
      const checked = config === undefined ? file : (folder ?? file);
      console.log(`${entry === undefined ? checked : printable(entry.file)}: ${summary(config, problems)}`);
    }
  }
  return valid ? EXIT.done : EXIT.failed;
};

async function validateText(text: string, file: string): Promise<Validated[]> {
  const entries = configMapEntries(text, file);
  if (entries === undefined) return [await check(text, file)];
  if (entries.length === 0) {
    return [failed(file, 'a manifest without a config: expected a ConfigMap with "cambist.yaml"')];
  }
  return Promise.all(entries.map(async (entry) => ({ ...(await check(entry.text, entry.file)), entry })));
}

/** Checks a config, and what only this command tells: token endpoints that metadata could contest. */
async function check(text: string, file: string): Promise<LoadedConfig> {
  const { config, problems } = await readTeams(await checkConfig(text, file));
  if (config === undefined) return { config, problems };
  const ofTeams = config.teams.flatMap(teamProblems);
  const found = [...problems, ...contestedEndpointProblems(config, text, file)];
  return { config, problems: [...found.toSorted(byPosition), ...ofTeams] };
}

const isWarning = ({ severity }: Problem): boolean => severity === 'warning';

/** If the metadata of two issuers names the same token endpoint, the first one read keeps it. */
function contestedEndpointProblems({ authorizationServers }: Config, text: string, file: string): readonly Problem[] {
  const discovered = authorizationServers.filter(({ tokenEndpoint }) => tokenEndpoint === undefined);
  if (new Set(discovered.map(({ issuer }) => issuer)).size < 2) return [];
  const { problems } = readDocument(text, file);
  const names = discovered.map(({ name }) => `"${name}"`).join(', ');
  problems.root
    .at('authorization_servers')
    .warn(
      `metadata of one could claim the token endpoint of another, which then gets no requests: set token_endpoint of ${names}`,
      'key',
    );
  return problems.sorted();
}

function failed(file: string, message: string): Validated {
  return { config: undefined, problems: [{ severity: 'error', file, line: 0, column: 0, path: '', message }] };
}

function report(file: string, valid: boolean, validated: readonly Validated[]) {
  const problems = validated.flatMap((one) => one.problems);
  const [only] = validated;
  if (only?.entry === undefined) return { file, valid, ...counts(only?.config), problems };
  const configs = validated.map(({ config, entry, problems }) => ({
    config_map: entry?.configMap,
    key: entry?.key,
    valid: config !== undefined && problems.every(isWarning),
    ...counts(config),
  }));
  return { file, valid, configs, problems };
}

function counts(config: Config | undefined) {
  return { routes: config?.routes.length, authorization_servers: config?.authorizationServers.length };
}

function summary(config: Config | undefined, problems: readonly Problem[]): string {
  const found = (['error', 'warning'] as const).map((severity) => countOf(problems, severity, severity));
  const parts = found.filter((part) => part !== undefined).join(', ');
  if (config === undefined || !problems.every(isWarning)) return parts;
  const { routes, authorizationServers } = config;
  const valid = `valid: ${counted(routes.length, 'route')}, ${counted(authorizationServers.length, 'authorization server')}`;
  return parts === '' ? valid : `${valid}; ${parts}`;
}

/**
 * Prints the JSON Schema of the config file, or of audit records. `config/cambist.schema.json` and `config/audit.schema.json` are
 * the same texts.
 */
export const schema: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.schema.flags });
  const isAudit = values.audit === true;
  const printed = isAudit ? (await import('../audit/record-schema.ts')).recordJsonSchema() : jsonSchema();
  console.log(JSON.stringify(printed, null, 2));
  return EXIT.done;
};

/** Under another key than that of cambist's manifests, a config is recognized by its routes. */
const HAS_ROUTES = /^[ \t]*"?routes"?[ \t]*:/m;

type ConfigMapEntry = NonNullable<ReturnType<typeof configMapEntries>>[number];

/**
 * Finds the cambist configs in Kubernetes manifests: YAML with any number of documents, JSON, and Lists.
 * @returns undefined if the text is not a manifest
 */
function configMapEntries(text: string, file: string) {
  const manifests = manifestsIn(text, file);
  if (!manifests.some((one) => getIn(one, ['kind']) && getIn(one, ['apiVersion']))) return undefined;
  return configMapsIn(manifests).flatMap((manifest) => {
    const configMap = String(getIn(manifest, ['metadata', 'name']) ?? '');
    return Object.entries(getIn(manifest, ['data']) ?? {}).flatMap(([key, value]) => {
      const isConfig = typeof value === 'string' && (key === CONFIG_KEY || HAS_ROUTES.test(value));
      return isConfig ? [{ file: `${file} (ConfigMap ${configMap}, ${key})`, configMap, key, text: value }] : [];
    });
  });
}

/** Reads the manifests of a text. Invalid YAML has none, because the parser of configs reports it. */
function manifestsIn(text: string, file: string): readonly Json[] {
  try {
    return text.includes('kind') ? readStream(text, file).manifests : [];
  } catch {
    return [];
  }
}
