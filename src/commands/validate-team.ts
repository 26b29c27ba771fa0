import { dirname, isAbsolute, relative } from 'node:path';
import { checkConfig, type LoadedConfig } from '../config/load.ts';
import type { Team } from '../config/teams.ts';
import type { Problem } from '../documents/config-node.ts';
import { readDocument } from '../documents/document.ts';
import { readTeams } from '../teams/team-files.ts';
import { UsageError } from './command.ts';

interface Entry {
  readonly name?: unknown;
  readonly agents?: unknown;
  readonly authorization_servers?: unknown;
}

/**
 * Checks the folder of a team against the entry of that name.
 * @param text a config, or `routes_from` alone
 */
export async function validateTeam(text: string, file: string, routes: string, name: string): Promise<LoadedConfig> {
  // Relative to the file, as in an entry.
  const folder = isAbsolute(routes) ? routes : relative(dirname(file), routes) || '.';
  const { value, problems, locate } = readDocument(text, file);
  const written = { ...(value as Record<string, unknown> | undefined) };
  const entries = listOf<Entry | null>(written.routes_from);
  const index = entries.findIndex((each) => each?.name === name);
  const entry = entries[index];
  if (entry === undefined || entry === null) {
    if (value === undefined) return { config: undefined, problems: problems.sorted() };
    throw new UsageError(`${file} has no entry "${name}" in routes_from`);
  }
  const isAlone = Object.keys(written).every((key) => key === 'routes_from');
  if (!isAlone) {
    const whole = await checkConfig(text, file);
    if (whole.config === undefined) return whole;
  }
  const rest = isAlone ? assumed(entry) : { ...written, routes: undefined };
  const main = await checkConfig(JSON.stringify({ ...rest, routes_from: [{ ...entry, folder }] }), file, {
    locate: ([top = '', , ...path], what) => locate(top === 'routes_from' ? [top, index, ...path] : [top], what),
  });
  const checked = await readTeams(main);
  if (checked.config === undefined) return checked;
  const files = checked.config.teams.flatMap((team) => team.files);
  const none = { severity: 'warning', file: routes, line: 0, column: 0, path: '', message: NO_FILES } as const;
  return { config: checked.config, problems: files.length === 0 ? [none] : files.flatMap(({ problems }) => problems) };
}

const NO_FILES = 'has no .yaml file: name the folder that has the routes';

function listOf<Entry>(value: unknown): Entry[] {
  return Array.isArray(value) ? value : [];
}

const NOWHERE = 'https://server.invalid';

/** A config around an entry, with what the entry refers to. */
function assumed({ authorization_servers: servers, agents }: Entry) {
  const server = {
    issuer: NOWHERE,
    token_endpoint: `${NOWHERE}/token`,
    client_id: 'cambist',
    client_auth: { method: 'none' },
  };
  const known = listOf(agents).map((name) => [name, { subject: name }]);
  const token = { header: 'x-agent-token', issuer: NOWHERE, audience: 'cambist' };
  return {
    version: 1,
    authorization_servers: Object.fromEntries(listOf(servers).map((name) => [name, server])),
    ...(known.length > 0 && { agents: { token, known: Object.fromEntries(known) } }),
  };
}

/** A folder is only mounted where cambist runs. */
export function teamProblems({ grants: { folder }, files }: Team): Problem[] {
  return files.flatMap(({ path, problems }) =>
    path === folder ? problems.map((each) => ({ ...each, severity: 'warning' as const })) : problems,
  );
}
