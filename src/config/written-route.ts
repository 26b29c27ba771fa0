import { hideKeys } from './hide-keys.ts';
import { mayUsePlainHttp } from './plain-http.ts';
import type { Credential, ExpectedAudience, Match, Route } from './route.ts';
import type { Loose } from './schema.ts';
import type { MatchFile, RouteFile } from './schema-route.ts';
import {
  duration,
  nonEmpty,
  type ShowSource,
  size,
  source,
  writtenTls,
  writtenVerification,
} from './written-values.ts';

export function writtenRoute(route: Route, show: ShowSource): Loose<RouteFile> {
  const { name, match, upstream, credential, send, subjectToken, timeouts, tls } = route;
  const { header, type, file, scope, verify } = subjectToken;
  return {
    name,
    match: writtenMatch(match),
    upstream: hideKeys(upstream.origin + upstream.path),
    credential: credential.kind,
    ...writtenCredential(credential, show),
    send,
    subject_token: {
      ...(file === undefined ? { header } : { file: show(file) }),
      type,
      scope,
      verify: verify && writtenVerification(verify),
    },
    consent_url: route.consent?.url,
    timeouts: {
      connect: duration(timeouts.connectMs),
      response_headers: duration(timeouts.responseHeadersMs),
      stall: duration(timeouts.stallMs),
    },
    retry_body_limit: size(route.retryBodyLimitBytes),
    step_up: nonEmpty(route.stepUp),
    allowed_origins: nonEmpty(route.allowedOrigins),
    tls: tls && writtenTls(tls, show),
    allow_insecure_http: needsInsecureHttp(route) || undefined,
  };
}

/** A missing part matches everything. */
export function writtenMatch({ host, path, conditions }: Match): Loose<MatchFile> {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  return {
    host,
    path,
    methods: methods as Loose<MatchFile>['methods'],
    mcp_method: mcpMethods,
    mcp_name: mcpNames,
  };
}

function writtenCredential(credential: Credential, show: ShowSource): Loose<RouteFile> {
  if (credential.kind === 'secret') return { secret: source(credential.source, show) };
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
    audience: nonEmpty(audience.map(hideKeys)),
    scope,
    requested_token_type: requestedTokenType,
    expect_audience: writtenExpectation(expectAudience),
    ...(credential.kind === 'exchange' && writtenExchange(credential, show)),
  };
}

function writtenExchange(
  { actorToken, chain, onMissingSubject }: Extract<Credential, { kind: 'exchange' }>,
  show: ShowSource,
): Loose<RouteFile> {
  return {
    actor_token: actorToken && { file: show(actorToken.source), type: actorToken.type },
    chain: chain && { authorization_server: chain.authorizationServer.name, assertion: chain.assertion },
    on_missing_subject: onMissingSubject,
  };
}

function writtenExpectation(expected: ExpectedAudience): Loose<RouteFile>['expect_audience'] {
  if (expected !== 'any' && 'only' in expected) return { only: expected.only.map(hideKeys) };
  return expected === 'any' ? 'any' : expected.map(hideKeys);
}

/** The route needs the key for its upstream or for the issuer of `verify`. */
function needsInsecureHttp({ upstream, subjectToken: { verify } }: Route): boolean {
  const { protocol, hostname } = new URL(upstream.origin);
  return verify?.allowInsecureHttp === true || (protocol === 'http:' && !mayUsePlainHttp(hostname.replace(/\.$/, '')));
}
