import type { Config } from '../config/config.ts';
import type { Team } from '../config/teams.ts';
import { CambistError } from '../errors.ts';
import { oncePer } from '../secrets/secret.ts';
import type { KnownFacts } from './conditions.ts';
import { describedResource, type RequestTarget } from './request-target.ts';
import { createPlaces, createRouteTable, type RouteTable } from './route-table.ts';

/** The routes of a config. A request in the region of a team finds the routes of that team alone, and no other request finds them. */
export function createConfigTable({ routes, teams }: Pick<Config, 'routes' | 'teams'>): RouteTable {
  const main = createRouteTable(teams.length === 0 ? routes : routes.filter(({ team }) => team === undefined));
  return teams.length === 0 ? main : withRegions(main, teams);
}

/** Kept while the team is as it was. */
const tableOf = oncePer(({ routes }: Team) => createRouteTable(routes));

function withRegions(main: RouteTable, teams: readonly Team[]): RouteTable {
  const regions = createPlaces((): { team?: Team } => ({}));
  for (const team of teams) {
    const { hosts, paths } = team.grants;
    for (const host of hosts.length === 0 ? [undefined] : hosts) {
      for (const path of paths.length === 0 ? ['/'] : paths) regions.at(host, path).team = team;
    }
  }
  const teamAt = (target: RequestTarget) => regions.find(target, ({ team }) => team, undefined);
  /** The metadata of a resource belongs to the owner of the resource. */
  const ownerOf = (target: RequestTarget) => {
    const resource = describedResource(target);
    return (resource && teamAt(resource)) ?? teamAt(target);
  };

  /**
   * Searches the table of the team that owns the path. Finds nothing where some server reads the path as that of another owner.
   * The request is then refused.
   * @param find called with the table, and the owner of a region
   */
  function inTable<Found>(target: RequestTarget, find: (table: RouteTable, owner: Team | undefined) => Found) {
    const owner = ownerOf(target);
    if (target.plainPath !== undefined && ownerOf({ ...target, path: target.plainPath }) !== owner) return undefined;
    return find(owner === undefined ? main : tableOf(owner), owner);
  }

  return {
    /** @throws {CambistError} ERR_ROUTES_INVALID */
    match: ((target: RequestTarget, facts?: KnownFacts) =>
      inTable(target, (table, owner) => {
        if (owner?.isOpen === false) throw closed(owner);
        return table.match(target, facts);
      })) as RouteTable['match'],
    /** None while the region is closed. A response that only mentions the region must not fail. */
    candidates: (target) => inTable(target, (table) => table.candidates(target)) ?? [],
    namesHost: (host) => main.namesHost(host) || regions.namesHost(host),
    ownerOf: ({ plainPath, ...target }) =>
      (ownerOf(target) ?? (plainPath === undefined ? undefined : ownerOf({ ...target, path: plainPath })))?.grants.name,
  };
}

export function closed({ grants: { name }, files }: Team): CambistError {
  const bad = files.find(({ isValid }) => !isValid);
  const why = bad === undefined ? 'its folder was not read' : `"${bad.path}" has an error`;
  const message = `the routes of "${name}" are invalid: ${why}: run "cambist validate"`;
  return new CambistError('ERR_ROUTES_INVALID', message, { team: name });
}
