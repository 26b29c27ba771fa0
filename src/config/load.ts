import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type ConfigNode, createProblemList, type Locate, type Problem } from '../documents/config-node.ts';
import { readDocument } from '../documents/document.ts';
import { warnOfPlaceholders } from '../documents/placeholders.ts';
import { checkShape, type FileShape } from '../documents/shape.ts';
import { errorCode } from '../errors.ts';
import { type Config, type ConfigFile, configSchema } from './config.ts';
import { resolveConfig } from './resolve.ts';
import { createSources, type UsedSources } from './sources.ts';

export interface LoadedConfig {
  readonly config: Config | undefined;
  /** All problems, in the order of the file. */
  readonly problems: Problem[];
}

/** A ConfigMap is at most 1 MiB. A thousand routes take a third of that. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

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
  const read =
    options.isReload === true && (await isUnreloadable(file)) ? { problem: PIPE } : await readConfigText(file);
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

export async function readConfigText(file: string): Promise<{ text: string } | { problem: string }> {
  const chunks: Buffer[] = [];
  try {
    // A stream, because `--config /dev/stdin` has no size.
    for await (const chunk of createReadStream(file, { end: MAX_FILE_BYTES })) chunks.push(Buffer.from(chunk));
  } catch (error) {
    return { problem: whyUnreadable(error) };
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length > MAX_FILE_BYTES) return { problem: 'larger than 4 MiB: check that this is the right file' };
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return { problem: 'not UTF-8: save the file as UTF-8, or check that it is the right file' };
  }
}

const PIPE = 'neither a file nor a link to one, so it cannot be reloaded: put a file in its place, or restart';

/** False also for a missing file, which reading it reports. */
function isUnreloadable(file: string): Promise<boolean> {
  return stat(file).then(
    (stats) => !stats.isFile() && !stats.isDirectory(),
    () => false,
  );
}

const NO_SUCH_FILE =
  'no such file: name the config file with --config or CAMBIST_CONFIG, or write one with "cambist init"';

const WHY_UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: NO_SUCH_FILE,
  ENOTDIR: NO_SUCH_FILE,
  EISDIR: 'this is a folder: name the config file in it',
  EACCES: 'permission denied: let this user read the file',
};

function whyUnreadable(error: unknown): string {
  const code = errorCode(error) ?? 'unknown error';
  return WHY_UNREADABLE[code] ?? `cannot be read (${code}): check the path`;
}
