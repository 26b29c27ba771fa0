import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { readTeam, readTeams } from '../../../src/teams/team-files.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const SERVER = { issuer: 'https://idp.example.com', client_id: 'cambist', client_auth: { method: 'none' } };

export const ENTRY = {
  name: 'billing',
  paths: ['/billing'],
  authorization_servers: ['main'],
  upstreams: ['https://*.billing.example.com'],
};

export const ROUTE = {
  name: 'ledger',
  match: { path: '/billing/ledger' },
  upstream: 'https://ledger.billing.example.com/mcp',
};

/** A main file with these entries for teams. */
export const mainOf = (entries: readonly object[], more: object = {}) =>
  JSON.stringify({
    version: 1,
    authorization_servers: { main: SERVER, 'of-others': { ...SERVER, issuer: 'https://other.example.com' } },
    routes_from: entries,
    routes: [{ name: 'rest', match: { path: '/' }, upstream: 'https://rest.example.com', credential: 'none' }],
    ...more,
  });

/** A main file and the folder of a team. */
export async function teamFolder(t: TestContext, entry: object = {}, more: object = {}) {
  const base = temporaryFolder(t);
  const folder = join(base, 'billing');
  await mkdir(folder);
  await writeFile(join(base, 'cambist.yaml'), mainOf([{ ...ENTRY, folder, ...entry }], more));
  const write = (name: string, routes: readonly unknown[]) => writeFile(join(folder, name), JSON.stringify({ routes }));
  async function read() {
    const { config, ...found } = await readTeams(await loadConfig(join(base, 'cambist.yaml')));
    if (config === undefined) assert.fail(found.problems.map(formatProblem).join('\n'));
    const [team] = config.teams;
    if (team === undefined) assert.fail();
    assert.equal(config.routes[0]?.name, 'rest', 'the other routes are there, whatever the team wrote');
    const problems = team.files.flatMap((file) => file.problems);
    return { config, team, problems, reread: () => readTeam(team) };
  }
  const errors = async (): Promise<string[]> => {
    const found = (await read()).problems.filter(({ severity }) => severity === 'error');
    return found.map(({ path, message }) => `${path}: ${message}`);
  };
  return { base, folder, write, read, errors };
}
