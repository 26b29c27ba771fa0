import * as z from 'zod';
import type { ServerScope, Servers } from './authorization-server.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { required, schemaOf, valueKey, type Written } from './key.ts';
import { text } from './kinds.ts';
import { type Match, match as matchKey } from './match.ts';
import { resolveCredential } from './resolve-credential.ts';
import { type ConsentRules, needsCaller, type Route, type SubjectTokenSource } from './route.ts';
import { merge, ROUTE_KEYS, type RouteKeys, readOwnKeys } from './route-keys.ts';
import { parseSize, TOKEN_TYPE_PREFIX } from './units.ts';
import { readHttpUrl, type Upstream } from './urls.ts';
import { DEFAULT_SUBJECT_HEADER, resolveVerification } from './verification.ts';

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
  /** The servers that subject tokens may be verified at. */
  readonly verifiers: Servers;
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
  const own = readOwnKeys(ownKeys, node, scope);
  const keys = merge(context.defaults, own);
  const match = writtenMatch && matchKey.read(writtenMatch, node.at('match'), scope);
  const upstream = url === undefined ? undefined : resolveUpstream(url, keys, node);
  const credential = resolveCredential(ownKeys, keys, upstream, node, scope.servers);
  if (own.tls !== undefined && upstream?.origin.startsWith('http:')) {
    node.at('tls').warn('has no effect with a plain http upstream: remove it', 'key');
  }
  const readsMessage = match?.conditions?.mcpMethods !== undefined || match?.conditions?.mcpNames !== undefined;
  if (readsMessage) checkMessageLimit(keys.retryBodyLimitBytes, own.retryBodyLimitBytes, node);
  const draft = { node, name, match, subjectHeader: own.subjectToken?.header };
  if (name === undefined || match === undefined || upstream === undefined || credential === undefined) {
    return { ...draft, route: undefined };
  }
  const subjectToken = resolveSubject(keys, credential, context.verifiers, node);
  if (keys.send !== undefined && 'authorizationServer' in credential && credential.authorizationServer.dpop) {
    node.at('send').error('has no effect on tokens that are bound to a key: remove it, or dpop of the server');
  }
  const consent = consentOf(credential, subjectToken, keys, context.interactionHosts);
  const isOwnSubject = credential.kind === 'exchange' && subjectToken.own !== undefined;
  for (const key of ['consent_url', 'unattended'] as const) {
    if (isOwnSubject && ownKeys[key] !== undefined) {
      node.at(key).warn("has no effect with a subject token of cambist's own: remove it", 'key');
    }
  }
  const unattended = credential.kind === 'exchange' && !isOwnSubject ? keys.unattended : undefined;
  if (own.allowedOrigins !== undefined && unattended === undefined && needsCaller({ credential, subjectToken })) {
    node.at('allowed_origins').warn("has no effect, because the route needs a caller's token anyway: remove it", 'key');
  }
  const { agents, timeouts, retryBodyLimitBytes, stepUp, allowedOrigins, tls } = keys;
  const send = credential.kind === 'passthrough' || credential.kind === 'none' ? undefined : keys.send;
  const kept = { agents, send, timeouts, retryBodyLimitBytes, stepUp, allowedOrigins, tls, unattended };
  return { ...draft, route: { name, match, upstream, subjectToken, credential, consent, ...kept } };
}

/** Parsing blocks every other request: 1 MiB of the worst JSON takes about 0.1 s. */
const MAX_MESSAGE = '1MiB';

function checkMessageLimit(limitBytes: number, ownBytes: number | undefined, node: ConfigNode) {
  if (limitBytes === 0) {
    node.error(
      'matches by mcp_method or mcp_name, but retry_body_limit: 0 lets it read no body: raise retry_body_limit',
    );
  } else if (limitBytes > (parseSize(MAX_MESSAGE) ?? 0)) {
    const from = ownBytes === undefined ? ' from defaults' : '';
    node.error(
      `matches by mcp_method or mcp_name, so retry_body_limit${from} must be at most ${MAX_MESSAGE} here: lower it, or remove mcp_method and mcp_name`,
    );
  }
}

function resolveUpstream(url: string, keys: RouteKeys, node: ConfigNode): Upstream | undefined {
  const shows = keys.credential === 'none' ? 'requests and responses' : 'tokens';
  const rules = { allowInsecureHttp: keys.allowInsecureHttp, allowQuery: false, shows };
  const read = valueOrReport(readHttpUrl(url, rules), node.at('upstream'));
  return read && { ...read, path: read.path === '/' ? '' : read.path };
}

function resolveSubject(
  { subjectToken: keys }: RouteKeys,
  credential: Route['credential'],
  servers: Servers,
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
  const rules = { ...verify, audience: verify.audience ?? [clientId ?? ''] };
  return { ...subject, verify: resolveVerification(rules, servers, node.at('subject_token', 'verify')) };
}

/** A URL is for one caller. With a subject token of cambist's own, all callers share the token. */
function consentOf(
  credential: Route['credential'],
  { own }: SubjectTokenSource,
  { consentUrl }: RouteKeys,
  hosts: readonly string[],
): ConsentRules | undefined {
  if (credential.kind !== 'exchange' || own !== undefined) return undefined;
  return consentUrl === undefined && hosts.length === 0 ? undefined : { hosts, url: consentUrl };
}
