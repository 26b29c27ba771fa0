import type { IncomingMessage } from 'node:http';
import type { Team } from '../config/teams.ts';
import { CambistError } from '../errors.ts';
import type { Dialect, ReportedBy } from '../proxy/arrival.ts';
import { headerValues, type RawHeaders } from '../proxy/headers.ts';
import { isHeader } from '../transport/http1/write-request.ts';

/** A request as the data plane reports it. */
export interface Reported extends ReportedBy {
  readonly method: string;
  /** Path and query, undecoded. */
  readonly url: string;
  readonly rawHeaders: string[];
}

export const SECRET_HEADER = 'x-cambist-decision-secret';

/** The headers in which two of the dialects report the request. */
const REPORTS = {
  'forward-auth': { method: 'x-forwarded-method', url: 'x-forwarded-uri', host: 'x-forwarded-host' },
  'auth-request': { method: 'x-original-method', url: 'x-original-uri', host: 'x-original-host' },
} as const;

const BY_NAME = /^\/(ext-authz|forward-auth|auth-request)\/([a-z0-9-]+)(?=$|[/?])/;
/** The name of a team's route, which begins with that of the team. */
const OF_TEAM = /^\/(ext-authz|forward-auth|auth-request)\/([a-z0-9-]+\/[a-z0-9-]+)(?=$|[/?])/;
const BY_MATCH = /^\/(ext-authz|forward-auth|auth-request)(?=$|[/?])/;

/**
 * Reads which request a data plane asks about.
 * @param named the path names the route, before the path of the request itself
 * @param teams their names, which no route of the main file has
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND where the request is not reported, or in two ways
 */
export function readReport(
  incoming: IncomingMessage,
  url: string,
  named: boolean,
  teams: readonly Pick<Team, 'grants'>[] = [],
): Reported {
  const found = (named ? BY_NAME : BY_MATCH).exec(url);
  const isOfTeam = teams.some(({ grants }) => grants.name === found?.[2]);
  const [prefix = '', dialect, routeName] = (isOfTeam ? OF_TEAM.exec(url) : found) ?? [];
  if (dialect === undefined) {
    const form = named
      ? '/ext-authz/ROUTE, /forward-auth/ROUTE or /auth-request/ROUTE'
      : '/ext-authz, /forward-auth or /auth-request';
    throw unclear(`its path does not begin with ${form}`);
  }
  const { method = '', rawHeaders } = incoming;
  if (dialect === 'ext-authz') {
    const rest = url.slice(prefix.length);
    // Envoy puts the prefix before the path as it came.
    return { dialect, routeName, method, url: rest.startsWith('/') ? rest : `/${rest}`, rawHeaders: own(rawHeaders) };
  }
  const names = REPORTS[dialect as 'forward-auth' | 'auth-request'];
  const host = onlyValue(rawHeaders, names.host);
  const target = onlyValue(rawHeaders, names.url) ?? missing(names.url);
  // An absolute URL would name another host.
  if (!target.startsWith('/')) throw unclear(`${names.url} does not begin with "/"`);
  return {
    dialect: dialect as Dialect,
    routeName,
    method: onlyValue(rawHeaders, names.method) ?? missing(names.method),
    url: target,
    rawHeaders: host === undefined ? own(rawHeaders) : ['host', host, ...own(rawHeaders, 'host')],
  };
}

/** Returns the headers of the request itself. @param more the name of a header that is left out as well */
export function own(raw: RawHeaders, more?: string): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (isHeader(name, SECRET_HEADER) || (more !== undefined && isHeader(name, more))) continue;
    kept.push(name, raw[i + 1] as string);
  }
  return kept;
}

/** A second line may be one that the client sent itself. */
function onlyValue(raw: RawHeaders, name: string): string | undefined {
  const values = headerValues(raw, name);
  if (values.length > 1) throw unclear(`it has ${name} twice: let the data plane replace the header of the client`);
  return values[0];
}

function missing(name: string): never {
  throw unclear(`${name} is missing: let the data plane set it`);
}

export function unclear(why: string): CambistError {
  return new CambistError('ERR_ROUTE_NOT_FOUND', `the data plane does not say which request it asks about: ${why}`);
}
