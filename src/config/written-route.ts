import { hideKeys } from './hide-keys.ts';
import { mayUsePlainHttp } from './plain-http.ts';
import type { Credential, ExpectedAudience, Match, Route } from './route.ts';
import type { MatchFile, RouteFile } from './schema-route.ts';
import { duration, type ShowSource, size, writtenTls, writtenVerification } from './written-values.ts';

export function writtenRoute(route: Route, show: ShowSource): RouteFile {
  const { name, match, upstream, credential, send, subjectToken, timeouts, tls } = route;
  const { header, type, file, scope, verify } = subjectToken;
  return {
    name,
    match: writtenMatch(match),
    upstream: hideKeys(upstream.origin + upstream.path),
    credential: credential.kind,
    ...writtenCredential(credential, show),
    ...(send !== undefined && { send: { ...send } }),
    subject_token: {
      ...(file === undefined ? { header } : { file: show(file) }),
      type,
      ...(scope !== undefined && { scope }),
      ...(verify !== undefined && {
        verify: writtenVerification(verify),
      }),
    },
    ...(route.consent?.url !== undefined && { consent_url: route.consent.url }),
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
  if (credential.kind === 'secret') return { secret: { file: show(credential.source) } };
  if (credential.kind === 'passthrough' || credential.kind === 'none') return {};
  const { resource, audience, scope, requestedTokenType, connection, expectAudience } = credential.target;
  if (connection !== undefined) {
    return {
      authorization_server: credential.authorizationServer.name,
      connection,
      expect_audience: writtenExpectation(expectAudience),
    };
  }
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

/** The route needs the key for its upstream or for the issuer of `verify`. */
function needsInsecureHttp({ upstream, subjectToken: { verify } }: Route): boolean {
  const { protocol, hostname } = new URL(upstream.origin);
  return verify?.allowInsecureHttp === true || (protocol === 'http:' && !mayUsePlainHttp(hostname.replace(/\.$/, '')));
}
