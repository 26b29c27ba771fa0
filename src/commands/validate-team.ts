import type { Problem } from '../config/config-node.ts';
import { readDocument } from '../config/document.ts';
import { checkConfig, type LoadedConfig } from '../config/load.ts';
import type { Team } from '../config/teams.ts';
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
export async function validateTeam(text: string, file: string, folder: string, name: string): Promise<LoadedConfig> {
  const { value, problems } = readDocument(text, file);
  const main = { ...(value as Record<string, unknown> | undefined) };
  const entry = listOf<Entry | null>(main.routes_from).find((each) => each?.name === name);
  if (entry === undefined || entry === null) {
    if (value === undefined) return { config: undefined, problems: problems.sorted() };
    throw new UsageError(`${file} has no entry "${name}" in routes_from`);
  }
  const isAlone = Object.keys(main).every((key) => key === 'routes_from');
  if (!isAlone) {
    const whole = await checkConfig(text, file);
    if (whole.config === undefined) return whole;
  }
  const rest = isAlone ? assumed(entry) : { ...main, routes: undefined };
  const checked = await checkConfig(JSON.stringify({ ...rest, routes_from: [{ ...entry, folder }] }), file);
  if (checked.config === undefined) return checked;
  return { config: checked.config, problems: checked.config.teams.flatMap(teamProblems) };
}

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
