import { type ConfigNode, createProblemList, type Locate, type Problem } from '../documents/config-node.ts';
import { readConfigText } from '../documents/config-text.ts';
import { readDocument } from '../documents/document.ts';
import { warnOfPlaceholders } from '../documents/placeholders.ts';
import { checkShape, type FileShape } from '../documents/shape.ts';
import { type Config, type ConfigFile, configSchema } from './config.ts';
import { resolveConfig } from './resolve.ts';
import { createSources, type UsedSources } from './sources.ts';

export interface LoadedConfig {
  readonly config: Config | undefined;
  /** All problems, in the order of the file. */
  readonly problems: Problem[];
}

/** Reports problems of a valid config in the place where it is to run. */
type Check = (config: Config, root: ConfigNode, used: UsedSources) => void;

/**
 * Parses a config in YAML or JSON. Never throws, and reads no file.
 * @param file name of the file in problems. Relative paths in the config start at its folder
 */
export function parseConfig(text: string, file: string, check?: Check): LoadedConfig {
  const parsed = parse(text, file);
  if (parsed.config !== undefined) check?.(parsed.config, parsed.list.root, parsed.sources.used);
  return finish(parsed);
}

export interface LoadOptions {
  /** Reports missing environment variables as errors, for the process that needs them. */
  readonly needsVariables?: boolean;
  /** Refuses a pipe or a device, which is read once, at the start: reading it again could wait for ever. */
  readonly isReload?: boolean;
  /** Finds the positions of problems, for a text that was made of another. */
  readonly locate?: Locate;
}

/** Reads a config file. Warns about secret, key and certificate files in it that do not exist. */
export async function loadConfig(file: string, options: LoadOptions = {}): Promise<LoadedConfig> {
  const read = await readConfigText(file, options.isReload);
  if ('problem' in read) {
    const problem = { severity: 'error', file, line: 0, column: 0, path: '', message: read.problem } as const;
    return { config: undefined, problems: [problem] };
  }
  return checkConfig(read.text, file, options);
}

/** Parses a config and warns about files in it that do not exist. */
export async function checkConfig(
  text: string,
  file: string,
  { needsVariables = false, locate }: LoadOptions = {},
): Promise<LoadedConfig> {
  const parsed = parse(text, file, locate);
  await parsed.sources.reportMissing(needsVariables);
  return finish(parsed);
}

function parse(text: string, file: string, locate?: Locate) {
  const { value, problems } = readDocument(text, file);
  const list = locate === undefined ? problems : createProblemList(file, locate);
  const sources = createSources(file);
  const shape = value === undefined ? undefined : checkShape<ConfigFile>(value, list.root, SHAPE);
  const config = shape === undefined ? undefined : resolveConfig(shape, list.root, sources);
  warnOfPlaceholders(shape, list.root);
  return { config, list, sources };
}

const SHAPE: FileShape = {
  schema: configSchema,
  start: 'version: 1',
  whyUnknown: (key) => (Object.hasOwn(REMOVED, key) ? `is no longer a key: ${REMOVED[key]}` : undefined),
};

/** Keys of earlier versions, and why they are gone. */
const REMOVED: Readonly<Record<string, string>> = {
  http2: 'remove it, because cambist speaks HTTP/1.1 to backends, which every MCP server speaks',
};

function finish({ config, list }: ReturnType<typeof parse>): LoadedConfig {
  const problems = list.sorted();
  const isValid = problems.every(({ severity }) => severity !== 'error');
  return { config: isValid ? config : undefined, problems };
}
