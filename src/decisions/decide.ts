import { carrierOf, type Route, whyUndecidable } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import type { ActiveConfig } from '../proxy/active-config.ts';
import { containsToken, headerTokens } from '../proxy/caller-tokens.ts';
import { matchRoute } from '../proxy/find-route.ts';
import { headerValues } from '../proxy/headers.ts';
import { responseIdOf } from '../proxy/mcp-error.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import type { Deciding } from '../proxy/pipeline.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import { traceNotTaken } from '../proxy/proxy-server.ts';
import type { CallerToken } from '../proxy/read-caller-token.ts';
import { OVERRIDES, withDashes } from '../proxy/request-headers.ts';
import type { Received, Routed } from '../proxy/steps.ts';
import { closed } from '../routing/region-table.ts';
import { oncePer } from '../secrets/secret.ts';
import { type IssuedToken, valueFor } from '../tokens/issued-token.ts';
import { rememberNames } from '../transport/known-names.ts';

/** Envoy removes the headers that this one lists from the request that it forwards. */
export const REMOVAL = 'x-envoy-auth-headers-to-remove';

/** The steps of a request that differ where cambist only decides about it. */
export const DECIDING: Deciding = {
  respondFirst(received) {
    const { request } = received;
    if (request.incoming.method === 'TRACE') throw traceNotTaken();
    const { config } = request.active;
    if (config.decisions?.preflights !== 'allow' || !isPreflight(received)) return undefined;
    const headers = {
      'cache-control': 'no-store',
      [REMOVAL]: usualRemoval(request.active.withheld.common, undefined),
      'x-request-id': request.record.id,
    };
    return { status: 200, headers, body: '' };
  },
  findRoute(received) {
    const { target, request } = received;
    const name = request.reported?.routeName;
    const problem = bodyProblem(request);
    if (name === undefined) {
      if (problem !== undefined) assertNoMessage(received, problem);
      const found = matchRoute(received);
      if (!(found instanceof Promise)) return assertDecidable(found, problem);
      return found.then((routed) => assertDecidable(routed, problem));
    }
    const { config, table } = request.active;
    const route = routesByName(config.routes).get(name);
    const owner = table.ownerOf(target);
    const concerned = config.teams.find(
      ({ grants, isOpen }) => !isOpen && (grants.name === owner || name.startsWith(`${grants.name}/`)),
    );
    if (concerned !== undefined) throw closed(concerned);
    if (route === undefined)
      throw new CambistError('ERR_ROUTE_NOT_FOUND', `the data plane names an unknown route "${name}"`);
    if (target.path === undefined && config.teams.length > 0) {
      const why = 'the path of the request is invalid or contains dot segments, so it may be in any region';
      throw new CambistError('ERR_ROUTE_NOT_FOUND', why);
    }
    if (owner !== undefined && owner !== route.team) {
      const why = `the data plane names route "${name}" for a request in the region of "${owner}"`;
      throw new CambistError('ERR_ROUTE_NOT_FOUND', why, { team: owner });
    }
    assertTakes(route, request.incoming.method);
    return assertDecidable({ request, target, route, path: request.url, wholeBody: undefined }, problem);
  },
  allow(routed, caller, token) {
    const names = copiesIn(routed, caller);
    const { dialect = 'ext-authz' } = routed.request.reported ?? {};
    // Other data planes drop headers by the names in their config.
    if (names.length > 0 && dialect !== 'ext-authz') throw copied(names[0]);
    return allowed(routed, token, names);
  },
};

const routesByName = oncePer((routes: readonly Route[]) => new Map(routes.map((route) => [route.name, route])));

/** Why the body does not tell which message the backend reads. */
function bodyProblem({ incoming, reported }: ProxyRequest): CambistError | undefined {
  const rule = 'the route depends on the message, and the data plane';
  // Envoy sends the beginning of a body that is larger than its limit, if it is told to (`allow_partial_message`).
  if (headerValues(incoming.rawHeaders, 'x-envoy-auth-partial-body').some((value) => value !== 'false')) {
    return new CambistError('ERR_MESSAGE_TOO_LARGE', `${rule} sent only a part of it: let it send whole bodies`);
  }
  if (reported?.isText !== true) return undefined;
  return new CambistError('ERR_ROUTE_NOT_FOUND', `${rule} replaces bytes in it: set pack_as_bytes in Envoy's filter`);
}

function assertNoMessage({ target, request }: Received, problem: CambistError): void {
  const { table } = request.active;
  const { method = '' } = request.incoming;
  const found = table.match(target, { method, message: 'unread' });
  if (found !== undefined && 'bodyLimitBytes' in found) throw problem;
}

/** A name stands for one route, and the data plane has not looked at its methods. */
function assertTakes({ name, match }: Route, method = ''): void {
  if (match.conditions?.methods === undefined || match.conditions.methods.includes(method)) return;
  throw new CambistError('ERR_ROUTE_NOT_FOUND', `route "${name}" does not take the method of the request`);
}

function assertDecidable(routed: Routed, problem: CambistError | undefined): Routed {
  const { route, request, wholeBody } = routed;
  if (route.unattended !== undefined && problem !== undefined) throw problem;
  const why = whyUndecidable(route, request.active.config.decisions?.routesBy === 'name');
  // The data plane forwards the path as it came.
  if (why === undefined) return { ...routed, path: request.url };
  const facts = wholeBody === undefined ? {} : { responseId: responseIdOf(wholeBody) };
  throw new CambistError('ERR_ROUTE_NOT_FOUND', `no decision uses route "${route.name}", because ${why}`, facts);
}

/** A browser sends no credential with a preflight. A request with one is not a preflight, and needs a decision of its own. */
function isPreflight({ request: { incoming, active } }: Received): boolean {
  const has = (name: string): boolean => headerValues(incoming.rawHeaders, name).length > 0;
  if (incoming.method !== 'OPTIONS' || !has('origin') || !has('access-control-request-method')) return false;
  // A data plane adds the certificate of the agent.
  const names = [...active.credentialHeaders].filter((name) => name !== active.config.agents?.forwarded?.header);
  return headerTokens(incoming.rawHeaders, names).length === 0;
}

/** Names in both spellings that backends read as one header. The same for each request of a route. */
const removalOf = oncePer(
  (withheld: ReadonlySet<string>): ReadonlySet<string> =>
    new Set([...withheld, ...OVERRIDES].flatMap((name) => [name, name.replaceAll('-', '_')])),
);

/** Lower-case names of the headers that the backend must not get from the caller. */
export function removedHeaders(active: ActiveConfig, route: Route): ReadonlySet<string> {
  return removalOf(withheldOn(active, route));
}

function withheldOn({ withheld: { common, onRoute } }: ActiveConfig, route: Route): ReadonlySet<string> {
  return onRoute.get(route) ?? common;
}

/** The lists as text, by the header that carries the credential. */
const removalTexts = oncePer((_withheld: ReadonlySet<string>) => new Map<string | undefined, string>());

/** Without the header that Envoy sets: it would remove that one as well. */
function usualRemoval(withheld: ReadonlySet<string>, carrier: string | undefined): string {
  const texts = removalTexts(withheld);
  const known = texts.get(carrier);
  if (known !== undefined) return known;
  const text = [...removalOf(withheld)].filter((name) => name !== carrier).join(',');
  texts.set(carrier, text);
  return text;
}

const nameAt = rememberNames((name) => {
  const key = name.toLowerCase();
  return { name, key, dashed: withDashes(key) };
});

/** Headers that the usual list lacks: with a copy of a token or a handle, or in a spelling that mixes both. Lower case. */
function copiesIn({ request, route }: Routed, { rawHeaders, withheldTokens }: CallerToken): readonly string[] {
  const usual = removedHeaders(request.active, route);
  const { rawHeaders: sent } = request.incoming;
  /** The headers without those that had handles, which `inbound` leaves out. */
  const kept = rawHeaders === sent ? undefined : new Set(rawHeaders);
  const names: string[] = [];
  for (let i = 0; i < sent.length; i += 2) {
    const { key, dashed } = nameAt(i, sent[i] as string);
    const value = sent[i + 1] as string;
    if (key === 'host' || usual.has(key)) continue;
    if (usual.has(dashed) || containsToken(value, withheldTokens) || kept?.has(value) === false) names.push(key);
  }
  return names;
}

function copied(name: string | undefined): CambistError {
  const message = `the header "${name}" carries a credential as well, which the data plane does not drop: send each token once`;
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', message);
}

/** The response that lets the request pass, with the credential in the header of its route. */
function allowed({ request, route }: Routed, token: IssuedToken | undefined, removed: readonly string[]): OwnResponse {
  const carrier = token === undefined ? undefined : carrierOf(route);
  const value = token && (route.send === undefined ? token.authorization.reveal() : valueFor(route.send, token));
  const usual = usualRemoval(withheldOn(request.active, route), carrier);
  return {
    status: 200,
    headers: {
      ...(carrier !== undefined && value !== undefined && { [carrier]: value }),
      [REMOVAL]: removed.length === 0 ? usual : [usual, ...removed].join(','),
      'cache-control': 'no-store',
      'x-request-id': request.record.id,
    },
    body: '',
  };
}
