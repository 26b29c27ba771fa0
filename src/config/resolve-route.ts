import type { AuthorizationServer, Credential, Match, Route, Upstream } from './config.ts';
import { DEFAULTS } from './defaults.ts';
import { readHostPattern, readPathPrefix } from './matching.ts';
import { type Place, take } from './place.ts';
import { type RouteKeys, readRouteKeys } from './resolve-route-keys.ts';
import type { Loose } from './schema.ts';
import type { DefaultsFile, MatchFile, RouteFile } from './schema-route.ts';
import type { Sources } from './sources.ts';
import { resolveTarget } from './targets.ts';
import { parseDuration, parseSize, tokenTypeUrn } from './units.ts';
import { canonicalUri, readHttpUrl, toUpstream } from './urls.ts';

/** What a route refers to beside itself. */
export interface RouteContext {
  readonly defaults: RouteKeys;
  /** By name, in the order of the file; undefined: something is wrong with it. */
  readonly servers: ReadonlyMap<string, AuthorizationServer | undefined>;
  readonly sources: Sources;
}

/** A route with its parts as far as they could be read. */
export interface RouteDraft {
  readonly place: Place;
  readonly name: string | undefined;
  readonly match: Match | undefined;
  /** Set on the route itself. */
  readonly subjectHeader: string | undefined;
  readonly route: Route | undefined;
}

/** A route as it is written → as it is used. What is wrong is told to `place`. */
export function resolveRoute(written: Loose<RouteFile>, place: Place, context: RouteContext): RouteDraft {
  const { name, match: writtenMatch, upstream: url, ...ownKeys } = written;
  const own = readRouteKeys(ownKeys, place, [...context.servers.keys()], context.sources);
  const keys = merge(context.defaults, own);
  const match = writtenMatch === undefined ? undefined : resolveMatch(writtenMatch, place.at('match'));
  const upstream = url === undefined ? undefined : resolveUpstream(url, keys, place);
  const credential = resolveCredential(ownKeys, keys, upstream, place, context);
  if (own.tls !== undefined && upstream?.origin.startsWith('http:')) {
    place.at('tls').warn('has no effect: the upstream is plain http', 'key');
  }
  const draft = { place, name, match, subjectHeader: own.subjectToken?.header };
  if (name === undefined || match === undefined || upstream === undefined || credential === undefined) {
    return { ...draft, route: undefined };
  }
  return { ...draft, route: assemble({ name, match, upstream, credential }, keys) };
}

/** A route's own key wins as a whole; of `timeouts` each one by itself. */
function merge(defaults: RouteKeys, own: RouteKeys): RouteKeys {
  const written = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(written) };
}

function resolveMatch(written: Loose<MatchFile>, place: Place): Match | undefined {
  if (written.host === undefined && written.path === undefined) {
    if (!place.broken) place.error('must have a host or a path: write path: / for all requests');
    return undefined;
  }
  const host = written.host === undefined ? undefined : take(readHostPattern(written.host), place.at('host'));
  const path = take(readPathPrefix(written.path ?? '/'), place.at('path'));
  return place.broken || path === undefined ? undefined : { host, path };
}

function resolveUpstream(url: string, keys: RouteKeys, place: Place): Upstream | undefined {
  const rules = { allowInsecureHttp: keys.allowInsecureHttp ?? false, allowQuery: false };
  const read = take(readHttpUrl(url, rules), place.at('upstream'));
  return read === undefined ? undefined : toUpstream(read);
}

function resolveCredential(
  written: Loose<DefaultsFile>,
  keys: RouteKeys,
  upstream: Upstream | undefined,
  place: Place,
  context: RouteContext,
): Credential | undefined {
  const kind = keys.credential ?? DEFAULTS.credential;
  warnOfIdleKeys(kind, written, place);
  if (kind === 'none' || kind === 'passthrough') return { kind };
  const authorizationServer = findServer(keys.authorizationServer, kind, place, context.servers);
  if (upstream === undefined) return undefined;
  const target = resolveTarget(keys, canonicalUri(upstream), place);
  if (authorizationServer === undefined) return undefined;
  const onMissingSubject = keys.onMissingSubject ?? DEFAULTS.onMissingSubject;
  if (kind === 'client_credentials' || onMissingSubject === 'client_credentials') {
    if (authorizationServer.clientAuth.method === 'none') {
      place.warn('asks for a token of our own without client authentication: most servers refuse that');
    }
  }
  if (kind === 'client_credentials') return { kind, authorizationServer, target };
  return { kind, authorizationServer, target, actorToken: keys.actorToken, onMissingSubject };
}

const FOR_ISSUED_TOKENS = [
  'authorization_server',
  'resource',
  'audience',
  'scope',
  'expect_audience',
  'retry_body_limit',
];
const FOR_EXCHANGES = ['requested_token_type', 'actor_token', 'on_missing_subject'];

/** Keys that mean nothing to each kind of credential. In `defaults` they are for other routes. */
const IDLE_KEYS: Record<Credential['kind'], readonly string[]> = {
  exchange: [],
  client_credentials: FOR_EXCHANGES,
  passthrough: [...FOR_ISSUED_TOKENS, ...FOR_EXCHANGES],
  none: [...FOR_ISSUED_TOKENS, ...FOR_EXCHANGES],
};

function warnOfIdleKeys(kind: Credential['kind'], written: object, place: Place) {
  for (const [key, value] of Object.entries(written)) {
    if (value === undefined || !IDLE_KEYS[kind].includes(key)) continue;
    place.at(key).warn(`has no effect with credential "${kind}": remove it`, 'key');
  }
}

function findServer(
  name: string | undefined,
  kind: Credential['kind'],
  place: Place,
  servers: RouteContext['servers'],
): AuthorizationServer | undefined {
  if (name !== undefined) return servers.get(name);
  const [only, ...others] = servers.keys();
  if (only !== undefined && others.length === 0) return servers.get(only);
  if (place.at('authorization_server').broken) return undefined;
  place.error(
    only === undefined
      ? `credential "${kind}" needs an authorization server: define one under authorization_servers, or set credential: none`
      : `missing key "authorization_server": there are several, so name one of ${[only, ...others].join(', ')}`,
  );
  return undefined;
}

type Parts = Pick<Route, 'name' | 'match' | 'upstream' | 'credential'>;

function assemble(parts: Parts, keys: RouteKeys): Route {
  return {
    ...parts,
    subjectToken: keys.subjectToken ?? {
      header: DEFAULTS.subjectTokenHeader,
      type: tokenTypeUrn(DEFAULTS.subjectTokenType) ?? '',
    },
    timeouts: {
      connectMs: keys.connectMs ?? parseDuration(DEFAULTS.connectTimeout) ?? 0,
      responseHeadersMs: keys.responseHeadersMs ?? parseDuration(DEFAULTS.responseHeadersTimeout) ?? 0,
    },
    retryBodyLimitBytes: keys.retryBodyLimitBytes ?? parseSize(DEFAULTS.retryBodyLimit) ?? 0,
    tls: keys.tls,
  };
}
