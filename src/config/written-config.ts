import type { CredentialSource } from '../secrets/credential.ts';
import type {
  AuthorizationServer,
  ClientAuth,
  Config,
  Credential,
  ExpectedAudience,
  Listen,
  Match,
  Route,
  TlsFiles,
} from './config.ts';
import { HIDDEN, hideKeys } from './hide-keys.ts';
import { mayUsePlainHttp } from './plain-http.ts';
import type { ConfigFile } from './schema.ts';
import type { AuthorizationServerFile, ClientAuthFile } from './schema-authorization-server.ts';
import type { MatchFile, RouteFile } from './schema-route.ts';

/** Returns the path of a file or the name of a variable as it may be shown. */
export type ShowSource = (source: CredentialSource) => string;

/**
 * The config as a file could have it: all defaults filled in, `defaults` merged into the routes. It contains no secret: secrets are
 * files and variables, and parts that could be one are hidden. Without hidden parts, it loads as the same config.
 */
export function writtenConfig(config: Config, show: ShowSource): ConfigFile {
  return { ...writtenTop(config, show), routes: config.routes.map((route) => writtenRoute(route, show)) };
}

export function writtenTop(config: Config, show: ShowSource): Omit<ConfigFile, 'routes'> {
  const { listen, admin, adminHosts, socketMode, log, hostHeader, session, cache, limits, forwardProxy } = config;
  const servers = config.authorizationServers.map((server) => [server.name, writtenServer(server, show)] as const);
  return {
    version: 1,
    listen: address(listen),
    admin: address(admin),
    ...([listen.kind, admin.kind].includes('unix') && { socket_mode: socketMode.toString(8).padStart(4, '0') }),
    ...(adminHosts.length > 0 && { admin_hosts: [...adminHosts] }),
    log: { ...log },
    ...(hostHeader !== undefined && { host_header: hostHeader }),
    session: { ...session },
    cache: { max_entries: cache.maxEntries, max_age: duration(cache.maxAgeMs) },
    limits: {
      max_in_flight: limits.maxInFlight,
      max_in_flight_per_upstream: limits.maxInFlightPerUpstream,
      max_connections: limits.maxConnections,
      max_header_size: size(limits.maxHeaderBytes),
      shutdown_grace: duration(limits.shutdownGraceMs),
    },
    ...(forwardProxy.connect.length > 0 && { forward_proxy: { connect: [...forwardProxy.connect] } }),
    ...(servers.length > 0 && { authorization_servers: Object.fromEntries(servers) }),
  };
}

function writtenServer(server: AuthorizationServer, show: ShowSource): AuthorizationServerFile {
  const { issuer, tokenEndpoint, clientId, clientAuth, grant, extraParams, timeoutMs, tls, dpop } = server;
  return {
    ...(issuer !== undefined && { issuer }),
    ...(tokenEndpoint !== undefined && { token_endpoint: withoutQuery(tokenEndpoint) }),
    ...(clientId !== undefined && { client_id: clientId }),
    client_auth: writtenClientAuth(clientAuth, show),
    grant,
    ...(extraParams.length > 0 && { extra_params: Object.fromEntries(extraParams.map(([name]) => [name, HIDDEN])) }),
    timeout: duration(timeoutMs),
    ...(tls !== undefined && { tls: writtenTls(tls, show) }),
    dpop,
    allow_insecure_http: server.allowInsecureHttp,
  };
}

function writtenClientAuth(auth: ClientAuth, show: ShowSource): ClientAuthFile {
  const { method } = auth;
  switch (method) {
    case 'none':
    case 'tls_client_auth':
      return { method };
    case 'client_secret_basic':
      return { method, client_secret: source(auth.clientSecret, show), basic_encoding: auth.basicEncoding };
    case 'client_secret_post':
      return { method, client_secret: source(auth.clientSecret, show) };
    case 'client_secret_jwt':
      return { method, client_secret: source(auth.clientSecret, show), ...algorithm(auth.alg), ...assertion(auth) };
    case 'private_key_jwt':
      return {
        method,
        private_key: source(auth.privateKey, show),
        ...algorithm(auth.alg),
        ...(auth.keyId !== undefined && { key_id: auth.keyId }),
        ...(auth.certificate !== undefined && { certificate: { file: show(auth.certificate) } }),
        ...assertion(auth),
      };
    case 'client_assertion':
      return {
        method,
        client_assertion: { file: show(auth.clientAssertion) },
        client_assertion_type: auth.clientAssertionType,
      };
    default:
      return method satisfies never;
  }
}

function algorithm(alg: string | undefined): Pick<ClientAuthFile, 'alg'> {
  return alg === undefined ? {} : { alg: alg as NonNullable<ClientAuthFile['alg']> };
}

function assertion(auth: { assertionAudience: string | undefined; assertionLifetimeMs: number }) {
  return {
    ...(auth.assertionAudience !== undefined && { assertion_audience: auth.assertionAudience }),
    assertion_lifetime: duration(auth.assertionLifetimeMs),
  };
}

export function writtenRoute(route: Route, show: ShowSource): RouteFile {
  const { name, match, upstream, credential, subjectToken, timeouts, tls } = route;
  const { header, type, file, verify } = subjectToken;
  return {
    name,
    match: writtenMatch(match),
    upstream: hideKeys(upstream.origin + upstream.path),
    credential: credential.kind,
    ...writtenCredential(credential, show),
    subject_token: {
      ...(file === undefined ? { header } : { file: show(file) }),
      type,
      ...(verify !== undefined && {
        verify: {
          issuer: verify.issuer,
          audience: oneOrMany(verify.audience),
          ...(verify.jwksUri !== undefined && { jwks_uri: withoutQuery(verify.jwksUri) }),
        },
      }),
    },
    timeouts: {
      connect: duration(timeouts.connectMs),
      response_headers: duration(timeouts.responseHeadersMs),
      stall: duration(timeouts.stallMs),
    },
    retry_body_limit: size(route.retryBodyLimitBytes),
    ...(route.stepUp.length > 0 && { step_up: [...route.stepUp] }),
    ...(route.allowedOrigins.length > 0 && { allowed_origins: [...route.allowedOrigins] }),
    http2: route.http2,
    ...(tls !== undefined && { tls: writtenTls(tls, show) }),
    ...(needsInsecureHttp(route) && { allow_insecure_http: true }),
  };
}

function writtenMatch({ host, path, conditions }: Match): MatchFile {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  return {
    ...(host !== undefined && { host }),
    path,
    ...(methods !== undefined && { methods: [...methods] as NonNullable<MatchFile['methods']> }),
    ...(mcpMethods !== undefined && { mcp_method: [...mcpMethods] }),
    ...(mcpNames !== undefined && { mcp_name: [...mcpNames] }),
  };
}

function writtenCredential(credential: Credential, show: ShowSource): Partial<RouteFile> {
  if (credential.kind === 'passthrough' || credential.kind === 'none') return {};
  const { resource, audience, scope, requestedTokenType, expectAudience } = credential.target;
  return {
    authorization_server: credential.authorizationServer.name,
    resource: resource.map(hideKeys),
    ...(audience.length > 0 && { audience: audience.map(hideKeys) }),
    ...(scope !== undefined && { scope }),
    ...(requestedTokenType !== undefined && { requested_token_type: requestedTokenType }),
    expect_audience: writtenExpectation(expectAudience),
    ...(credential.kind === 'exchange' && writtenExchange(credential, show)),
  };
}

function writtenExchange(
  { actorToken, chain, onMissingSubject }: Extract<Credential, { kind: 'exchange' }>,
  show: ShowSource,
): Partial<RouteFile> {
  return {
    ...(actorToken !== undefined && { actor_token: { file: show(actorToken.source), type: actorToken.type } }),
    ...(chain !== undefined && {
      chain: { authorization_server: chain.authorizationServer.name, assertion: chain.assertion },
    }),
    on_missing_subject: onMissingSubject,
  };
}

function writtenExpectation(expected: ExpectedAudience): RouteFile['expect_audience'] {
  if (expected !== 'any' && 'only' in expected) return { only: expected.only.map(hideKeys) };
  return expected === 'any' ? 'any' : expected.map(hideKeys);
}

function writtenTls({ ca, certificate, privateKey }: TlsFiles, show: ShowSource) {
  const file = (path: string) => ({ file: show({ file: path }) });
  return {
    ...(ca !== undefined && { ca: file(ca) }),
    ...(certificate !== undefined && { certificate: file(certificate) }),
    ...(privateKey !== undefined && { private_key: file(privateKey) }),
  };
}

function source(from: CredentialSource, show: ShowSource): { file: string } | { env: string } {
  return 'file' in from ? { file: show(from) } : { env: show(from) };
}

/** The route needs the key for its upstream or for the issuer of `verify`. */
function needsInsecureHttp({ upstream, subjectToken: { verify } }: Route): boolean {
  const { protocol, hostname } = new URL(upstream.origin);
  return verify?.allowInsecureHttp === true || (protocol === 'http:' && !mayUsePlainHttp(hostname.replace(/\.$/, '')));
}

function address(listen: Listen): string {
  if (listen.kind === 'unix') return `unix:${listen.path}`;
  return `${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}`;
}

function withoutQuery(url: string): string {
  return url.replace(/\?.*$/s, `?${HIDDEN}`);
}

function oneOrMany(values: readonly string[] | 'any'): string | string[] {
  return values === 'any' ? values : [...values];
}

const UNITS = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
] as const;

function duration(ms: number): 0 | string {
  if (ms === 0) return 0;
  const [unit, length] = UNITS.find(([, each]) => ms % each === 0) ?? ['ms', 1];
  return `${ms / length}${unit}`;
}

function size(bytes: number): number | string {
  const [unit, length] = bytes % 1024 ** 2 === 0 ? ['MiB', 1024 ** 2] : ['KiB', 1024];
  return bytes > 0 && bytes % length === 0 ? `${bytes / length}${unit}` : bytes;
}
