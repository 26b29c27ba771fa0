import * as z from 'zod';
import type { ConfigNode, Problem, Reading } from '../documents/config-node.ts';
import { plainPath } from '../request-paths.ts';
import type { Agents } from './agents.ts';
import type { ServerScope } from './authorization-server.ts';
import { required, section, type ValueOf, valueKey, withFallback } from './key.ts';
import { choice, folder, list, nonEmptyText } from './kinds.ts';
import { hostMatches, pathMatches, readHostPattern, readPathPrefix } from './match.ts';
import { type RouteContext, routeName } from './resolve-route.ts';
import type { Route } from './route.ts';
import { CREDENTIALS, type RouteKeys } from './route-keys.ts';
import { readSingleScope } from './targets.ts';

/** The scheme, host and port of URLs. */
export interface OriginPattern {
  readonly protocol: string;
  /** As in `match.host`. */
  readonly host: string;
  readonly port: string;
}

function readOriginPattern(text: string): Reading<OriginPattern> {
  const [, scheme, wildcard = '', authority = ''] = /^(https?):\/\/(\*\.)?([^/?#@*\\\s]+)\/?$/i.exec(text) ?? [];
  // With a label in place of the wildcard, a URL with an address after it is invalid.
  const url = `${scheme}://${wildcard === '' ? '' : 'x.'}${authority}`;
  if (scheme === undefined || !URL.canParse(url)) {
    return { problem: 'must be a scheme and a host, as in https://*.billing.example.com, without a path' };
  }
  const { protocol, hostname, port } = new URL(url);
  const host = readHostPattern(wildcard === '' ? hostname : `*.${hostname.slice('x.'.length)}`);
  return 'problem' in host ? host : { value: { protocol, host: host.value, port } };
}

function readRegionPath(text: string): Reading<string> {
  const path = readPathPrefix(text);
  if ('problem' in path || plainPath(path.value) === undefined) return path;
  return { problem: 'has a spelling that servers read as another path: write it without escapes and ";"' };
}

const names = (written: string) => ({ value: written });

const entry = section(
  'Routes that a team owns, in a folder of its own, and what they may use.',
  {
    name: required(routeName('Name of the team. Its routes are named `NAME/ROUTE`.')),
    folder: required(folder('Folder with the `.yaml` files of the team, each with `routes` and nothing else.')),
    paths: list(
      'Prefixes of paths, as in `match.path`. With `hosts`, on these hosts alone.',
      { examples: [['/billing']], form: 'list of paths', without: 'any', page: 'teams.md#regions' },
      readRegionPath,
    ),
    hosts: list(
      'Hosts, as in `match.host`. With `paths`, these paths alone.',
      { examples: [['*.billing.example.com']], form: 'list of hosts', without: 'any', page: 'teams.md#regions' },
      readHostPattern,
    ),
    agents: list(
      'Agents that the routes may serve. By default, those of `defaults`.',
      { examples: [['billing']], form: 'list of names', without: 'those of `defaults`' },
      names,
      nonEmptyText,
    ),
    authorization_servers: list(
      'Authorization servers that the routes may use.',
      { examples: [['main']], form: 'list of names', without: 'none' },
      names,
      nonEmptyText,
    ),
    upstreams: required(
      list(
        'Scheme, host and port of upstreams, with any path. The host may be `*.suffix`.',
        { examples: [['https://*.billing.example.com']], form: 'list of origins' },
        readOriginPattern,
        nonEmptyText,
      ),
    ),
    audiences: list(
      'Values of `audience`, `expect_audience` included.',
      { examples: [['billing-mcp']], form: 'list', without: 'none', page: 'teams.md#tokens' },
      names,
      nonEmptyText,
    ),
    resources: list(
      'Scheme, host and port of `resource`, with any path. The URI of the upstream needs no grant.',
      { form: 'list of origins', without: 'the upstream', page: 'teams.md#tokens' },
      readOriginPattern,
      nonEmptyText,
    ),
    scopes: list(
      'Scopes of tokens.',
      { examples: [['billing:read']], form: 'list of scopes', without: 'none', page: 'teams.md#tokens' },
      readSingleScope,
      nonEmptyText,
    ),
    credentials: valueKey(
      z.array(choice(CREDENTIALS, '').schema).min(1),
      'list of credentials',
      'Values of `credential`. `client_credentials` also covers `on_missing_subject` and `unattended`.',
      { default: ['exchange', 'none'] as const, page: 'teams.md#tokens' },
      (written: readonly (typeof CREDENTIALS)[number][]) => written.filter((each) => each !== undefined),
    ),
    files: list(
      'Folders of the files that the routes may name: `secret`, `tls` and `actor_token`.',
      {
        examples: [['/var/run/secrets/teams/billing']],
        form: 'list of folders',
        without: 'none',
        page: 'teams.md#files',
      },
      (text, _node, { sources }) => ({ value: sources.folder(text) }),
      folder('').schema,
    ),
  },
  {
    check({ authorizationServers }, { node, scope }: { node: ConfigNode; scope: ServerScope }, { paths, hosts }) {
      if (paths === undefined && hosts === undefined && !node.broken) {
        node.error('has no region: set paths or hosts, or both');
      }
      // Without the key, a region has all of them.
      if (paths?.length === 0) node.at('paths').error('must not be empty');
      if (hosts?.length === 0) node.at('hosts').error('must not be empty');
      for (const [index, name] of (authorizationServers ?? []).entries()) {
        if (!scope.servers.has(name)) node.at('authorization_servers', index).error('unknown authorization server');
      }
    },
  },
);

/** The keys of an entry. */
export const TEAM_KEYS = entry.keys ?? {};

/** The things that a team may use, and where it keeps its routes. */
export type Grants = NonNullable<ValueOf<typeof entry>>;

/** At most this many teams. */
const MAX_TEAMS = 1000;

export const routesFrom = withFallback(
  valueKey(
    z.array(entry.schema).max(MAX_TEAMS),
    'list of [entries](teams.md#keys)',
    'Routes of teams, each in a folder of its own.',
    { without: 'none', page: 'teams.md' },
    (written: readonly Parameters<typeof entry.read>[0][], node, scope): readonly Grants[] => {
      const all = written.flatMap((each, index) => {
        const read = each && entry.read(each, node.at(index), scope);
        return read === undefined ? [] : [{ read, node: node.at(index) }];
      });
      for (const [index, { read, node: own }] of all.entries()) {
        for (const earlier of all.slice(0, index)) {
          if (earlier.read.name === read.name) own.at('name').error('is also the name of another entry: change one');
          else if (overlap(earlier.read, read)) {
            own.error(
              `its region overlaps that of "${earlier.read.name}", so a request could belong to either: change the paths or the hosts of one`,
            );
          }
        }
      }
      return all.map(({ read }) => read);
    },
  ),
  [],
);

/** The requests of a team: these paths on these hosts. An empty list stands for all. */
export type Region = Pick<Grants, 'paths' | 'hosts'>;

/** Does a region have every request with this host and path? The host may be a pattern. */
export function isInside({ paths, hosts }: Region, host: string | undefined, path: string): boolean {
  const hasHost = hosts.length === 0 || (host !== undefined && hosts.some((each) => hostMatches(each, host)));
  return hasHost && (paths.length === 0 || paths.some((each) => pathMatches(each, path)));
}

/** Can a request be in both? */
function overlap(one: Region, other: Region): boolean {
  return (
    share(one.hosts, other.hosts, (a, b) => hostMatches(a, b)) &&
    share(one.paths, other.paths, (a, b) => pathMatches(a, b))
  );
}

function share(one: readonly string[], other: readonly string[], contains: (a: string, b: string) => boolean): boolean {
  if (one.length === 0 || other.length === 0) return true;
  return one.some((a) => other.some((b) => contains(a, b) || contains(b, a)));
}

/** A file of a team, or its folder, where that cannot be read. */
export interface TeamFile {
  readonly path: string;
  readonly problems: readonly Problem[];
  readonly isValid: boolean;
  /** Epoch milliseconds since when it is valid, or is not. */
  readonly sinceMs: number;
}

/** The parts of the main file that routes of teams are read with. */
export interface TeamContext extends RouteContext {
  readonly read: HeaderOwners;
  /** The defaults of a route without any key. */
  readonly usual: RouteKeys;
}

/** The sections with headers that have a role for all routes. */
export interface HeaderOwners {
  readonly agents?: Agents | undefined;
  readonly session?: { readonly header: string } | undefined;
  readonly hostHeader?: string | undefined;
}

/** A team, and its routes as they were when its folder was read. Closed and without files until then. */
export interface Team {
  readonly grants: Grants;
  /** Empty while a file has an error: the region is then closed. */
  readonly routes: readonly Route[];
  /** In the order of their names. */
  readonly files: readonly TeamFile[];
  readonly isOpen: boolean;
  /** Header with the caller's token, from `defaults`. */
  readonly subjectHeader: string;
  readonly context: TeamContext;
}
