import * as z from 'zod';
import { type ConfigNode, valueOrReport } from '../documents/config-node.ts';
import type { ServerScope } from './authorization-server.ts';
import { required, schemaOf, valueKey, type Written } from './key.ts';
import { text } from './kinds.ts';
import { type Match, match as matchKey, readsMessage } from './match.ts';
import { resolveCredential } from './resolve-credential.ts';
import { needsCaller, type Route, type SubjectTokenSource } from './route.ts';
import { ROUTE_KEYS, type RouteKeys, readRouteKeys } from './route-keys.ts';
import { TOKEN_TYPE_PREFIX } from './units.ts';
import { readHttpUrl, type Upstream } from './urls.ts';
import { DEFAULT_SUBJECT_HEADER } from './verification.ts';

export function routeName(description: string) {
  const form = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
  const error = 'must consist of lower-case letters, digits and hyphens, and start and end with a letter or digit';
  const schema = z.string().regex(form, { error }).max(63, { error: 'must be at most 63 characters long' });
  return valueKey(schema, '`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`', description, {}, (written: string) => written);
}

export const ROUTE = {
  name: required(routeName('Name of the route, for metrics and logs. Unique, at most 63 characters.')),
  match: required(matchKey),
  upstream: required(
    text('URL of the backend. Its path replaces the matched prefix. It has no query; that of a request is kept.', {
      examples: ['https://github-mcp.example.com/mcp'],
      form: 'URL',
    }),
  ),
  ...ROUTE_KEYS,
};

export type WrittenRoute = Written<typeof ROUTE>;

export const routeSchema = schemaOf(ROUTE).meta({
  description: 'A backend, the requests for it, and the token that it gets.',
});

/** Parts of the config that a route refers to. */
export interface RouteContext {
  readonly defaults: RouteKeys;
  readonly scope: ServerScope;
  readonly interactionHosts: readonly string[];
}

/** The parts of a route that could be read. */
export interface RouteDraft {
  readonly node: ConfigNode;
  readonly name: string | undefined;
  readonly match: Match | undefined;
  /** From the route itself, not from `defaults`. */
  readonly subjectHeader: string | undefined;
  readonly route: Route | undefined;
  /** Set where routes of several files are compared. */
  readonly file?: string;
}

export function resolveRoute(written: WrittenRoute, node: ConfigNode, context: RouteContext): RouteDraft {
  const { name, match: writtenMatch, upstream: url, ...ownKeys } = written;
  const { scope } = context;
  const keys = readRouteKeys(ownKeys, node, scope, context.defaults);
  const match = writtenMatch && matchKey.read(writtenMatch, node.at('match'), scope);
  const upstream = url === undefined ? undefined : resolveUpstream(url, keys, node);
  const credential = resolveCredential(ownKeys, keys, upstream, node, scope.servers);
  if (
    match &&
    readsMessage(match) &&
    (keys.retryBodyLimitBytes === 0 || keys.retryBodyLimitBytes > MAX_MESSAGE_BYTES)
  ) {
    node.error('matches by mcp_method or mcp_name, so its retry_body_limit must be from 1 byte to 1MiB: set it here');
  }
  const subjectHeader = ownKeys.subject_token && keys.subjectToken?.header;
  const draft = { node, name, match, subjectHeader };
  if (name === undefined || match === undefined || upstream === undefined || credential === undefined) {
    return { ...draft, route: undefined };
  }
  const subjectToken = resolveSubject(keys, credential, node);
  if (keys.send !== undefined && 'authorizationServer' in credential && credential.authorizationServer.dpop) {
    node.at('send').error('has no effect on tokens that are bound to a key: remove it, or dpop of the server');
  }
  const isOwnSubject = credential.kind === 'exchange' && subjectToken.own !== undefined;
  const isOfCallers = credential.kind === 'exchange' && !isOwnSubject;
  const { interactionHosts: hosts } = context;
  const mayConsent = isOfCallers && (keys.consentUrl !== undefined || hosts.length > 0);
  // A URL is for one caller. With a subject token of cambist's own, all callers share the token.
  const consent = mayConsent ? { hosts, url: keys.consentUrl } : undefined;
  const unattended = isOfCallers ? keys.unattended : undefined;
  const needsToken = unattended === undefined && needsCaller({ credential, subjectToken });
  for (const [key, isUnused, why] of [
    ['tls', upstream.origin.startsWith('http:'), 'with a plain http upstream'],
    ['consent_url', isOwnSubject, "with a subject token of cambist's own"],
    ['unattended', isOwnSubject, "with a subject token of cambist's own"],
    ['allowed_origins', needsToken, "on a route that needs a caller's token anyway"],
  ] as const) {
    if (isUnused && ownKeys[key] !== undefined) node.at(key).warn(`has no effect ${why}: remove it`, 'key');
  }
  const { agents, timeouts, retryBodyLimitBytes, stepUp, allowedOrigins, tls } = keys;
  const send = credential.kind === 'passthrough' || credential.kind === 'none' ? undefined : keys.send;
  const kept = { agents, send, timeouts, retryBodyLimitBytes, stepUp, allowedOrigins, tls, unattended };
  return { ...draft, route: { name, match, upstream, subjectToken, credential, consent, ...kept } };
}

/** Parsing blocks every other request: 1 MiB of the worst JSON takes about 0.1 s. */
const MAX_MESSAGE_BYTES = 1024 ** 2;

function resolveUpstream(url: string, keys: RouteKeys, node: ConfigNode): Upstream | undefined {
  const shows = keys.credential === 'none' ? 'requests and responses' : 'tokens';
  const rules = { allowInsecureHttp: keys.allowInsecureHttp, allowQuery: false, shows };
  const read = valueOrReport(readHttpUrl(url, rules), node.at('upstream'));
  return read && { ...read, path: read.path === '/' ? '' : read.path };
}

function resolveSubject(
  { subjectToken: keys }: RouteKeys,
  credential: Route['credential'],
  node: ConfigNode,
): SubjectTokenSource {
  const { header = DEFAULT_SUBJECT_HEADER, type, own, scope, verify } = keys ?? {};
  const first = credential.kind === 'exchange' ? (credential.chain ?? credential) : undefined;
  // An ID-JAG is issued for an ID token.
  const usualType =
    first !== undefined && 'assertion' in first && first.assertion === 'id_jag'
      ? 'id_token'
      : own !== undefined && 'spiffe' in own
        ? 'jwt'
        : 'access_token';
  const subject = {
    header,
    type: type ?? TOKEN_TYPE_PREFIX + usualType,
    own,
    scope: scope === '' ? undefined : scope,
  };
  if (verify === undefined || (first === undefined && credential.kind !== 'secret'))
    return { ...subject, verify: undefined };
  // By default, the token is for cambist's client at the server that gets it.
  const clientId = first?.authorizationServer.clientId;
  if (verify.audience === undefined && clientId === undefined && !node.at('subject_token').broken) {
    node.error(
      'verifies subject tokens without an expected audience: set subject_token.verify.audience to a value or to any',
    );
  }
  return { ...subject, verify: { ...verify, audience: verify.audience ?? [clientId ?? ''] } };
}
