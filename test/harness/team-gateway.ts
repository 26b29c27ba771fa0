import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Config } from '../../src/config/config.ts';
import { readTeams } from '../../src/teams/team-files.ts';
import { readConfigOf } from './app.ts';
import { echo, startFakeUpstream } from './fake-upstream.ts';
import { AS_DATA_PLANE, DECISION_SECRET, startGateway } from './gateway.ts';
import { call } from './http-call.ts';
import { temporaryFolder, writerInto } from './lifetime.ts';

/** A host in the region of the team `billing`. */
export const TEAM_HOST = 'x.billing.example.com';

/** A gateway whose main file has routes for every request, beside the regions of two teams. */
export async function startTeamGateway(t: TestContext, routesBy: 'match' | 'name' = 'match') {
  const base = temporaryFolder(t);
  const folders = { billing: join(base, 'billing'), support: join(base, 'support') };
  const [files, trustDir] = [join(base, 'files'), join(base, 'trust')];
  await Promise.all([files, trustDir, ...Object.values(folders)].map((folder) => mkdir(folder)));
  const team = await startFakeUpstream(t, echo);
  const secret = writerInto(base)('secret', DECISION_SECRET);
  const entry = {
    authorization_servers: ['local'],
    upstreams: [team.url],
    credentials: ['exchange', 'none', 'secret'],
    files: [files],
  };
  const gateway = await startGateway(t, {
    route: { match: { path: '/' } },
    moreRoutes: [{ name: 'wildcard', match: { host: '*.example.com', path: '/' }, upstream: team.url }],
    top: {
      routes_from: [
        {
          ...entry,
          name: 'billing',
          folder: folders.billing,
          paths: ['/billing'],
          hosts: ['localhost', '*.billing.example.com'],
        },
        { ...entry, name: 'support', folder: folders.support, hosts: ['support.example.com'] },
      ],
      decisions: {
        http: { listen: '127.0.0.1:0', secret },
        grpc: { listen: `unix:${join(base, 'grpc')}` },
        routes_by: routesBy,
      },
      forward_proxy: { connect: ['*.example.com:443'] },
      intercept: { trust_dir: trustDir, listen: ['127.0.0.1:0'] },
    },
  });
  const { app, authorization } = gateway;
  let config: Config = await readConfigOf(gateway.config);
  const write = (owner: keyof typeof folders, text: string) => writeFile(join(folders[owner], 'a.yaml'), text);
  return {
    ...gateway,
    team,
    folders,
    files,
    ca: await readFile(join(trustDir, 'ca.pem'), 'utf8'),
    write,
    /** Reads the folders of all teams again, as a change of one does. */
    async apply() {
      config = (await readTeams({ config, problems: [] }, config.teams)).config ?? config;
      app.reload(config);
    },
    send: (path: string, host = 'localhost', method = 'GET') =>
      call(app.url + path, { method, headers: { host, authorization } }),
    ask: (path: string, host = 'localhost') =>
      call(`${app.decisions}${path}`, { headers: { ...AS_DATA_PLANE, host, authorization } }),
  };
}

export type TeamGateway = Awaited<ReturnType<typeof startTeamGateway>>;

/** A file of the team `billing`, with a route for each host. The first is `ledger`. */
export const teamFile = ({ team }: TeamGateway, path = '/billing/ledger', hosts: readonly string[] = ['localhost']) =>
  JSON.stringify({
    routes: hosts.map((host, index) => ({
      name: index === 0 ? 'ledger' : `ledger-${index}`,
      match: { host, path },
      upstream: `${team.url}/mcp`,
    })),
  });
