import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { loadConfig } from '../../../src/config/load.ts';
import type { Route } from '../../../src/config/route.ts';
import type { Team } from '../../../src/config/teams.ts';
import { createConfigTable } from '../../../src/routing/region-table.ts';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { readTeams } from '../../../src/teams/team-files.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import { words } from '../../harness/words.ts';

/** Few hosts and segments, so that regions, routes and requests often meet. */
const host = fc.constantFrom(...words('a.svc b.svc x.a.svc y.x.a.svc *.a.svc *.svc *.x.a.svc'));
const path = fc.array(fc.constantFrom('a', 'b', 'A', 'ab'), { maxLength: 3 }).map((parts) => `/${parts.join('/')}`);
const spelling = fc.constantFrom('a', 'b', 'A', 'ab', '%61', 'a;x', 'a%2Fb', '%2e', 'a%20', '', '.', 'a%00', 'c');
const requestPath = fc
  .tuple(
    fc.constantFrom('', '/.well-known/oauth-protected-resource'),
    fc.array(spelling, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join('/')}`),
  )
  .map((parts) => parts.join(''));
const requestHost = fc.constantFrom(...words('a.svc A.SVC b.svc. x.a.svc:80 y.x.a.svc c.svc a.svc.evil.com'));

const lists = <T>(each: fc.Arbitrary<T>) => fc.uniqueArray(each, { maxLength: 2 });
const match = fc.record({ host, path }, { requiredKeys: [] }).filter((made) => Object.keys(made).length > 0);
const routes = lists(match);
const entry = fc.record({ paths: lists(path), hosts: lists(host), files: fc.array(routes, { maxLength: 1 }) });

const routeOf = (made: object, index: number) => ({
  name: `r${index}`,
  match: made,
  upstream: 'https://backend.svc',
  credential: 'none',
});

/** Hosts as the config has them: without port and trailing dot. */
function isOn(patterns: readonly string[], asked: string): boolean {
  const name = asked.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '');
  return (
    patterns.length === 0 ||
    patterns.some((each) => (each.startsWith('*') ? name.endsWith(each.slice(1)) : name === each))
  );
}

/** Every path that some server reads in this one. */
function readings(written: string): string[] {
  const decoded = written.replace(/%(?!00|25)(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const cut = decoded.replace(/(;|%00)[^/]*/g, '').replace(/ +(?=\/|$)/g, '');
  const spelled = [written, decoded, cut, cut.replace(/\/\/+/g, '/')];
  return spelled.flatMap((each) => [each, each.replace('/.well-known/oauth-protected-resource', '')]);
}

function isIn({ grants }: Team, asked: { host: string; path: string }): boolean {
  const isBelow = (each: string) =>
    readings(asked.path).some((read) => each === '/' || read === each || read.startsWith(`${each}/`));
  return isOn(grants.hosts, asked.host) && (grants.paths.length === 0 || grants.paths.some(isBelow));
}

test('no files of teams lead a request of a region to another route, or any other request to a route of a team', async (t) => {
  const base = temporaryFolder(t);
  const file = join(base, 'cambist.yaml');
  let checked = 0;
  let owned = 0;
  const property = fc.asyncProperty(
    fc.array(entry, { minLength: 1, maxLength: 2 }),
    routes,
    fc.array(fc.record({ host: requestHost, path: requestPath }), { minLength: 10, maxLength: 20 }),
    async (entries, ofMain, requests) => {
      await rm(join(base, 'teams'), { recursive: true, force: true });
      const written = entries.map(({ paths, hosts }, index) => ({
        name: `t${index}`,
        folder: join(base, 'teams', String(index)),
        ...(paths.length > 0 && { paths }),
        ...(hosts.length > 0 && { hosts }),
        upstreams: ['https://backend.svc'],
      }));
      for (const [index, { paths, hosts, files }] of entries.entries()) {
        const folder = written[index]?.folder ?? assert.fail();
        await mkdir(folder, { recursive: true });
        // At least one of the routes is in the region, unless it ties with another one.
        const inside = [{ host: hosts[0], path: paths[0] ?? '/' }];
        for (const [at, all] of [inside, ...files].entries()) {
          const text = JSON.stringify({ routes: all.map((made, each) => routeOf(made, 10 * at + each)) });
          await writeFile(join(folder, `${at}.yaml`), text);
        }
      }
      const main = [{ path: '/' }, ...ofMain].map((made, index) => routeOf(made, index));
      await writeFile(file, JSON.stringify({ version: 1, routes_from: written, routes: main }));
      const { config } = await readTeams(await loadConfig(file));
      if (config === undefined) return;
      checked += 1;
      const table = createConfigTable(config);
      for (const asked of requests) {
        const owners: readonly Team[] = config.teams.filter((team) => isIn(team, asked));
        let found: Route | undefined;
        try {
          found = table.match(parseRequestTarget(asked.path, [asked.host]));
        } catch {
          assert.ok(
            owners.some(({ isOpen }) => !isOpen),
            'only a closed region throws',
          );
        }
        if (found === undefined) continue;
        const own = owners.map(({ grants }) => grants.name);
        if (found.team !== undefined) owned += 1;
        assert.deepEqual(
          own,
          found.team === undefined ? [] : [found.team],
          JSON.stringify({ asked, found: found.name }),
        );
      }
    },
  );
  await fc.assert(property, { numRuns: propertyRuns(150) });
  assert.ok(checked > 20 && owned > 0, `only ${checked} configs were valid, and ${owned} requests were of teams`);
});
