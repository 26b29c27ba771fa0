import { parseArgs } from 'node:util';
import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Scalar, type YAMLMap } from 'yaml';
import { type Config, jsonSchema } from '../config/config.ts';
import { byPosition, type Problem } from '../config/config-node.ts';
import { readDocument } from '../config/document.ts';
import { checkConfig, type LoadedConfig, readConfigText } from '../config/load.ts';
import { printable, printableJson } from '../observability/printable.ts';
import { type Command, configFile, counted, countOf, EXIT, UsageError } from './command.ts';
import { describeProblem, showsColour } from './print-problems.ts';
import { USAGES } from './usages.ts';
import { teamProblems, validateTeam } from './validate-team.ts';

/** A validated config, and the ConfigMap that contains it, if one does. */
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
  const text = 'text' in read ? read.text : '';
  const validated: readonly Validated[] =
    'problem' in read
      ? [failed(file, read.problem)]
      : folder === undefined || name === undefined
        ? await validateText(text, file)
        : [await validateTeam(text, file, folder, name)];
  const valid = validated.every(({ config, problems }) => config !== undefined && problems.every(isWarning));
  if (values.json) {
    console.log(printableJson(report(file, valid, validated), 2));
  } else {
    const colour = showsColour(process.stdout);
    for (const { config, problems, entry } of validated) {
      for (const problem of problems) {
        const own = problem.file === file ? { text } : await readConfigText(problem.file);
        console.log(describeProblem(problem, 'text' in own ? own.text : '', colour));
      }
      // The config of a team, once it is valid, is not what the team asks about.
      const checked = config === undefined ? file : (folder ?? file);
      const part = entry === undefined ? '' : ` (${printable(nameOf(entry))})`;
      console.log(`${checked}${part}: ${summary(config, problems)}`);
    }
  }
  return valid ? EXIT.done : EXIT.failed;
};

async function validateText(text: string, file: string): Promise<Validated[]> {
  const entries = configMapEntries(text);
  if (entries === undefined) return [await check(text, file)];
  if (entries.length === 0) {
    return [failed(file, 'a manifest without a config: expected a ConfigMap with "cambist.yaml"')];
  }
  return Promise.all(
    entries.map(async (entry) => {
      const { config, problems } = await check(entry.text, file);
      const locate = (problem: Problem) => (problem.file === file ? entry.locate(problem) : problem);
      return { config, problems: problems.map(locate), entry };
    }),
  );
}

/** Checks a config, and what only this command tells: token endpoints that metadata could contest. */
async function check(text: string, file: string): Promise<LoadedConfig> {
  const { config, problems } = await checkConfig(text, file);
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

function nameOf({ configMap, key }: ConfigMapEntry): string {
  return `ConfigMap ${configMap}, ${key}`;
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

/** The name that the manifests of cambist use. Under another key, a config is recognized by its routes. */
const CONFIG_KEY = 'cambist.yaml';
const HAS_ROUTES = /^[ \t]*"?routes"?[ \t]*:/m;

/**
 * Finds the cambist configs in Kubernetes manifests: YAML with any number of documents, JSON, and Lists.
 * @returns undefined if the text is not a manifest
 */
export function configMapEntries(text: string) {
  // Spares the second parser for most configs.
  if (!/^["']?kind["']?\s*:|"kind"\s*:/m.test(text)) return undefined;
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, { lineCounter: lines, logLevel: 'silent' });
    const objects = 'empty' in documents ? [] : documents.flatMap(({ contents }) => objectsIn(contents));
    if (objects.length === 0) return undefined;
    return objects.flatMap((object) => entriesOf(object, text, lines));
  } catch {
    // Too deeply nested. The parser of configs reports it.
    return undefined;
  }
}

/** The Kubernetes objects in a document, also those in a List. */
function objectsIn(node: unknown): YAMLMap[] {
  if (!isMap(node) || !node.has('kind') || !node.has('apiVersion')) return [];
  const items = node.get('items', true);
  return isSeq(items) ? items.items.flatMap(objectsIn) : [node];
}

type ConfigMapEntry = ReturnType<typeof entriesOf>[number];

function entriesOf(object: YAMLMap, text: string, lines: LineCounter) {
  if (object.get('kind') !== 'ConfigMap') return [];
  const data = object.get('data', true);
  const configMap = String(object.getIn(['metadata', 'name']) ?? '');
  if (!isMap(data)) return [];
  return data.items.flatMap(({ key: name, value }) => {
    const key = isScalar(name) ? String(name.value) : '';
    if (!isScalar(value) || typeof value.value !== 'string') return [];
    if (key !== CONFIG_KEY && !HAS_ROUTES.test(value.value)) return [];
    // `locate` moves a problem of the text to its place in the manifest.
    return [{ configMap, key, text: value.value, locate: locator(value, text, lines) }];
  });
}

/** A literal block scalar has the lines of its text. In other styles, all problems are at the start of the value. */
function locator(value: Scalar, text: string, lines: LineCounter): (problem: Problem) => Problem {
  const [start = 0, end = 0] = value.range ?? [];
  const { line: startLine, col: startColumn } = lines.linePos(start);
  if (value.type !== 'BLOCK_LITERAL') return (problem) => ({ ...problem, line: startLine, column: startColumn });
  const content = text.slice(start, end).split('\n').slice(1);
  const indent = content.find((line) => line.trim() !== '')?.search(/\S/) ?? 0;
  return (problem) => ({ ...problem, line: startLine + problem.line, column: indent + problem.column });
}
