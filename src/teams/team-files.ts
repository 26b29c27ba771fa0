import { opendir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay, setImmediate as endOfTurn } from 'node:timers/promises';
import { systemClock } from '../clock/clock.ts';
import { refuseSameNames, refuseTies } from '../config/check-routes.ts';
import type { Config } from '../config/config.ts';
import type { LoadedConfig } from '../config/load.ts';
import { countCombinations } from '../config/match.ts';
import type { RouteDraft } from '../config/resolve-route.ts';
import { createSources } from '../config/sources.ts';
import type { Grants, Team, TeamContext, TeamFile } from '../config/teams.ts';
import { byPosition, createProblemList, type Locate, type Path, type Problem } from '../documents/config-node.ts';
import { readDocument } from '../documents/document.ts';
import { warnOfPlaceholders } from '../documents/placeholders.ts';
import { checkShape } from '../documents/shape.ts';
import { errorCode } from '../errors.ts';
import { openWithin, readStart } from '../secrets/within.ts';
import { ODD_CHARACTERS } from './shown-files.ts';
import { isOfRoute, resolveTeamRoutes, teamSchema, type WrittenTeamFile } from './team-routes.ts';

/** Far more than a team needs. The watcher looks at each again and again. */
const MAX_FILES = 1000;

/** Parsing a file blocks all requests, for about 2 ms a KiB. */
const MAX_FILE_BYTES = 64 * 1024;

/** Limit for all files of a folder together. A ConfigMap has the same limit. */
const MAX_FOLDER_BYTES = 1024 * 1024;

/** Limits for all files of a folder together. Each route takes 4 KiB of /metrics, and an entry in the route table for each combination of its conditions. */
const MAX_ROUTES = 1000;
const MAX_COMBINATIONS = 20_000;

/** Limit for the entries of a folder, which may have millions. The ignored ones count too. */
const MAX_ENTRIES = 10_000;

/** Files of a folder that are read at the same time. */
const AT_ONCE = 16;

/** Kubernetes replaces a folder within a moment. */
const RETRY_MS = 100;

/** The clock of a file system advances in steps, so a younger file may change without a trace. */
const SETTLED_MS = 3000;

/** A file as it was parsed. */
interface Parsed {
  /** The stats of the file when it was read. Undefined: it was so young that a later change may leave them as they are. */
  stats: string | undefined;
  readonly text: string;
  readonly content: WrittenTeamFile | undefined;
  /** Problems of the text and its shape. */
  readonly problems: readonly Problem[];
}

/** A file as it was read with a main file. */
interface ReadFile extends TeamFile {
  readonly parsed: Parsed | undefined;
  readonly context: TeamContext;
  /** Problems that do not depend on other files. */
  readonly ownProblems: readonly Problem[];
  readonly drafts: readonly RouteDraft[];
}

type Unchecked = Omit<ReadFile, 'isValid' | 'sinceMs'>;

/** The config with the routes of its teams. @param previous the teams as they were. Their unchanged files are not parsed again */
export async function readTeams(loaded: LoadedConfig, previous: readonly Team[] = []): Promise<LoadedConfig> {
  const { config, problems } = loaded;
  if (config === undefined || config.teams.length === 0) return loaded;
  const known = new Map(previous.map(({ grants, files }) => [grants.folder, files]));
  const read = config.teams.map((team) => readTeam(team, known.get(team.grants.folder)));
  return { config: withTeams(config, await Promise.all(read)), problems };
}

/** The config with the routes of its teams as they are now. */
export function withTeams(config: Config, teams: readonly Team[]): Config {
  const own = config.routes.filter(({ team }) => team === undefined);
  return { ...config, routes: [...own, ...teams.flatMap(({ routes }) => routes)], teams };
}

/** Reads the folder of a team. A known file that is as it was is neither read nor parsed. @returns the same team if nothing changed */
export async function readTeam(team: Team, previous = team.files): Promise<Team> {
  const { grants, context } = team;
  const files = team.files as readonly ReadFile[];
  const known = previous as readonly ReadFile[];
  let found = await readFolder(grants, context, known);
  // A file may be missing while the folder is being replaced.
  if (found.some(({ parsed }) => parsed === undefined)) {
    await delay(RETRY_MS);
    found = await readFolder(grants, context, found);
  }
  const isSame = found.length === files.length && found.every((each, index) => each === files[index]);
  // A closed team without files was not read yet.
  if (isSame && (team.isOpen || found.length > 0)) return team;
  const read = checked(found, known);
  const isOpen = read.every(({ isValid }) => isValid);
  const routes = isOpen ? read.flatMap(({ drafts }) => drafts.flatMap(({ route }) => route ?? [])) : [];
  return { ...team, files: read, isOpen, routes };
}

async function readFolder(grants: Grants, context: TeamContext, before: readonly Unchecked[]): Promise<Unchecked[]> {
  const known = new Map(before.map((file) => [file.path, file]));
  const read: Unchecked[] = [];
  let bytes = 0;
  let routes = 0;
  let combinations = 0;
  try {
    const paths = await filesIn(grants.folder);
    while (read.length < paths.length) {
      const next = paths.slice(read.length, read.length + AT_ONCE);
      const files = await Promise.all(next.map((path) => readTeamFile(path, grants, context, known.get(path))));
      read.push(...files);
      for (const { parsed, drafts } of files) {
        bytes += parsed?.text.length ?? 0;
        routes += drafts.length;
        for (const { match } of drafts) combinations += match === undefined ? 0 : countCombinations(match);
      }
      if (bytes > MAX_FOLDER_BYTES) throw new Error('has more than 1 MiB of routes: divide the team');
      if (routes > MAX_ROUTES) throw new Error(`has more than ${MAX_ROUTES} routes: divide the team`);
      if (combinations > MAX_COMBINATIONS) {
        throw new Error(`has more than ${MAX_COMBINATIONS} combinations of conditions: shorten lists in match`);
      }
    }
  } catch (error) {
    read.push(unreadable(grants.folder, context, error, known.get(grants.folder)));
  }
  return read;
}

/** In the order of their names. */
async function filesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  let entries = 0;
  for await (const { name } of await opendir(folder, { bufferSize: MAX_FILES })) {
    entries += 1;
    if (/^[^.].*\.ya?ml$/s.test(name)) names.push(name);
    if (names.length > MAX_FILES) throw new Error(`has more than ${MAX_FILES} files: join some of them`);
    if (entries > MAX_ENTRIES) throw new Error(`has more than ${MAX_ENTRIES} entries: remove some of them`);
  }
  return names.sort().map((name) => join(folder, name));
}

async function readTeamFile(
  path: string,
  grants: Grants,
  context: TeamContext,
  before: Unchecked | undefined,
): Promise<Unchecked> {
  let parsed: Parsed;
  try {
    if (basename(path).search(ODD_CHARACTERS) !== -1) throw new Error(ODD_NAME);
    parsed = await parseFile(path, grants.folder, before?.parsed);
  } catch (error) {
    return unreadable(path, context, error, before);
  }
  if (before !== undefined && parsed === before.parsed && context === before.context) return before;
  await nextTurn();
  const list = createProblemList(path, locateIn(parsed.text));
  const sources = createSources(path, grants.files);
  const drafts =
    parsed.content === undefined ? [] : resolveTeamRoutes(parsed.content, list.root, grants, sources, context);
  warnOfPlaceholders(parsed.content, list.root);
  await sources.reportMissing(false);
  const ownProblems = [...parsed.problems, ...list.sorted()];
  // Without the nodes, which keep the parsed text in memory.
  const kept = drafts.map((draft) => ({ ...draft, node: NOWHERE.at(...draft.node.path) }));
  return { path, parsed, context, drafts: kept, problems: [], ownProblems };
}

const NOWHERE = createProblemList('', () => ({ line: 0, column: 0 })).root;

/** Parses the text at the first problem: it takes a hundred times its memory. */
function locateIn(text: string): Locate {
  let locate: Locate | undefined;
  return (path, what) => {
    locate ??= readDocument(text, '').locate;
    return locate(path, what);
  };
}

let turn: Promise<unknown> = Promise.resolve();

/** Requests are served between two files, also where they are of different teams. */
function nextTurn(): Promise<unknown> {
  turn = turn.then(() => endOfTurn());
  return turn;
}

/** The same object while the text is the same. */
async function parseFile(path: string, folder: string, before: Parsed | undefined): Promise<Parsed> {
  const nowMs = systemClock.wallMs();
  const { dev, ino, size, mtimeMs, ctimeMs } = await stat(path);
  const stats = nowMs - ctimeMs > SETTLED_MS ? `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}` : undefined;
  if (stats !== undefined && stats === before?.stats) return before;
  const text = await readText(path, folder);
  if (before !== undefined && text === before.text) {
    before.stats = stats;
    return before;
  }
  await nextTurn();
  const { value, problems } = readDocument(text, path, `begin it with "${SHAPE.start}"`);
  const { root } = problems;
  const routes = (value as WrittenTeamFile | undefined)?.routes;
  const hasTooMany = Array.isArray(routes) && routes.length > MAX_ROUTES;
  if (hasTooMany) root.at('routes').error(`has more than ${MAX_ROUTES} routes: divide the team`);
  const content = value === undefined || hasTooMany ? undefined : checkShape<WrittenTeamFile>(value, root, SHAPE);
  return { stats, text, content, problems: problems.sorted() };
}

const SHAPE = {
  schema: teamSchema,
  start: 'routes:',
  whyUnknown(key: string, path: Path) {
    if (!isOfRoute(key)) return undefined;
    return path.length === 0
      ? 'belongs to a route: write the route into a list under "routes:"'
      : 'is not a key for routes of a team: remove it, or ask the operator of cambist';
  },
};

async function readText(path: string, folder: string): Promise<string> {
  const handle = await openWithin(path, [folder]);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new Error('is not a file: remove it');
    if (found.size > MAX_FILE_BYTES) throw new Error('is larger than 64 KiB: divide it');
    const bytes = await readStart(handle, found.size);
    if (bytes.length !== found.size)
      throw new Error('changed while it was read: write it to another place and rename it');
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } finally {
    await handle.close();
  }
}

const ODD_NAME = 'has a name with other characters than letters, digits, ".", "_" and "-": rename it';

const WHY_UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist: create or mount it',
  ENOTDIR: 'is not a folder: name the folder with the files',
  EACCES: 'permission denied: let this user read it',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'is not UTF-8: save it as UTF-8',
};

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function unreadable(path: string, context: TeamContext, error: unknown, before: Unchecked | undefined): Unchecked {
  const code = errorCode(error) ?? '';
  const message = WHY_UNREADABLE[code] ?? (code === '' ? messageOf(error) : `cannot be read (${code}): check it`);
  const isKnown = before?.parsed === undefined && before?.context === context;
  if (isKnown && before.ownProblems[0]?.message === message) return before;
  const problem = { severity: 'error', file: path, line: 0, column: 0, path: '', message } as const;
  return { path, parsed: undefined, context, drafts: [], problems: [], ownProblems: [problem] };
}

/** Adds the problems of each file with earlier ones, if all of the folder could be read. */
function checked(read: readonly Unchecked[], before: readonly ReadFile[]): ReadFile[] {
  const known = new Map(before.map((file) => [file.path, file]));
  const lists = read.map(({ path, parsed }) => createProblemList(path, locateIn(parsed?.text ?? '')));
  const isWhole = read.every(({ parsed }) => parsed !== undefined);
  const drafts = (isWhole ? read : []).flatMap((file, index) =>
    file.drafts.map((draft) => ({
      ...draft,
      node: lists[index]?.root.at(...draft.node.path) ?? draft.node,
      file: file.path,
    })),
  );
  refuseSameNames(drafts);
  refuseTies(drafts);
  return read.map((file, index) => {
    const problems = [...file.ownProblems, ...(lists[index]?.sorted() ?? [])].toSorted(byPosition);
    const isValid = problems.every(({ severity }) => severity !== 'error');
    const earlier = known.get(file.path);
    const sinceMs = earlier?.isValid === isValid ? earlier.sinceMs : systemClock.wallMs();
    return { ...file, problems, isValid, sinceMs };
  });
}
