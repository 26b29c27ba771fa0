import { parseArgs } from 'node:util';
import type { AuthorizationServer, Config, Route } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import { parseRequestTarget, type RequestTarget } from '../routing/request-target.ts';
import { createRouteTable } from '../routing/route-table.ts';
import { upstreamPath } from '../routing/upstream-path.ts';
import { whyNot } from '../routing/why-not.ts';
import { buildTokenRequest, type FormField, type Grant } from '../tokens/token-request.ts';
import { type Command, configFile, EXIT, UsageError } from './command.ts';

/** What a request would lead to; nothing is sent. */
interface Explanation {
  readonly request: { readonly method: string; readonly host: string | undefined; readonly path: string | undefined };
  readonly route: string | undefined;
  readonly others: readonly { readonly route: string; readonly why: string }[];
  readonly upstream: string | undefined;
  readonly credential: Route['credential']['kind'] | undefined;
  readonly token_request: TokenRequestExplanation | undefined;
  /** What the issued token is kept under. */
  readonly cache_key: readonly string[] | undefined;
}

interface TokenRequestExplanation {
  readonly endpoint: string;
  readonly client_authentication: string;
  readonly form: readonly FormField[];
}

/** Says which route a request takes and why not the others, and what would be asked of the authorization server. */
export const explain: Command = async (args) => {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      json: { type: 'boolean' },
      request: { type: 'string', short: 'X' },
      header: { type: 'string', short: 'H', multiple: true },
    },
  });
  const [url, ...more] = positionals;
  if (url === undefined || more.length > 0) throw new UsageError('explain takes one URL, as the agent would call it');
  const headers = (values.header ?? []).map(parseHeader);
  const { config, problems } = await loadConfig(configFile(values.config));
  if (config === undefined) {
    for (const problem of problems) console.error(formatProblem(problem));
    return EXIT.failed;
  }
  const explanation = explainRequest(config, values.request ?? 'POST', url, headers);
  console.log(values.json === true ? JSON.stringify(explanation, null, 2) : describe(explanation));
  return explanation.route === undefined ? EXIT.failed : EXIT.done;
};

type Header = readonly [name: string, value: string];

/** What stands in the wrong place may be a token, so the message does not repeat it. */
function parseHeader(line: string): Header {
  const colon = line.indexOf(':');
  if (colon < 1) throw new UsageError("-H takes 'name: value', and one of them has no name before a colon");
  return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
}

/** A URL's authority is the host that a client names, unless it is told to name another, as with `curl -H 'host: …'`. */
function readTarget(url: string, headers: readonly Header[], hostHeader: string | undefined): RequestTarget {
  const valuesOf = (name: string) => headers.filter(([other]) => other === name).map(([, value]) => value);
  const hosts = valuesOf('host');
  const named = hostHeader === undefined ? [] : valuesOf(hostHeader);
  return parseRequestTarget(hosts.length === 0 ? url : withoutAuthority(url), hosts, named);
}

function withoutAuthority(url: string): string {
  const rest = url.replace(/^https?:\/\/[^/?#]*/i, '');
  return rest.startsWith('/') || rest === url ? rest : `/${rest}`;
}

function explainRequest(config: Config, method: string, url: string, headers: readonly Header[]): Explanation {
  const target = readTarget(url, headers, config.hostHeader);
  const route = createRouteTable(config.routes).match(target);
  const others = config.routes
    .filter((other) => other !== route)
    .map((other) => ({ route: other.name, why: whyNot(other, target, route) }));
  return {
    request: { method, host: target.host, path: target.path },
    route: route?.name,
    others,
    upstream: route && route.upstream.origin + upstreamPath(route, target),
    credential: route?.credential.kind,
    token_request: route && explainTokenRequest(route),
    cache_key: route && explainCacheKey(route, config),
  };
}

function explainTokenRequest(route: Route): TokenRequestExplanation | undefined {
  const { credential } = route;
  if (credential.kind === 'passthrough' || credential.kind === 'none') return undefined;
  const { authorizationServer: server, target } = credential;
  const grant: Grant =
    credential.kind === 'client_credentials'
      ? { kind: 'client_credentials' }
      : {
          kind: 'token_exchange',
          subjectToken: `<token from the header "${route.subjectToken.header}">`,
          subjectTokenType: route.subjectToken.type,
          actor: credential.actorToken && { token: '<actor token>', type: credential.actorToken.type },
        };
  return {
    endpoint: server.tokenEndpoint ?? `the token_endpoint in the metadata of ${server.issuer}`,
    client_authentication: explainClientAuth(server),
    form: buildTokenRequest(grant, target, server),
  };
}

function explainClientAuth(server: AuthorizationServer): string {
  switch (server.clientAuth.method) {
    case 'none':
      return server.clientId === undefined ? 'none' : `client_id=${server.clientId} in the form`;
    case 'client_secret_basic':
      return `Authorization: Basic <${server.clientId}:secret, ${server.clientAuth.basicEncoding} encoded>`;
    case 'client_secret_post':
      return `client_id=${server.clientId} and client_secret=<secret> in the form`;
    case 'private_key_jwt':
      return `client_id=${server.clientId} and client_assertion=<JWT signed now> in the form`;
  }
}

function explainCacheKey({ credential, subjectToken }: Route, config: Config): string[] | undefined {
  switch (credential.kind) {
    case 'none':
    case 'passthrough':
      return undefined;
    case 'client_credentials':
      return ['the resource: authorization server, client, resource, audience, scope, extra parameters'];
    case 'exchange':
      return [
        `the caller's token, from the header "${subjectToken.header}"`,
        `the session id, from the header "${config.session.header}", where there is one`,
        'the resource: authorization server, client, resource, audience, scope, types, actor, extra parameters',
      ];
  }
}

function describe({ request, route, others, upstream, credential, token_request, cache_key }: Explanation): string {
  const lines = [`${request.method} host ${request.host ?? '(none)'}, path ${request.path ?? '(not usable)'}`, ''];
  lines.push(route === undefined ? 'No route: the request is answered 403 ERR_ROUTE_NOT_FOUND.' : `Route "${route}"`);
  if (upstream !== undefined) lines.push(`  upstream     ${upstream}`, `  credential   ${credential}`);
  if (token_request !== undefined) {
    lines.push('', 'Token request', `  POST ${token_request.endpoint}`, `  ${token_request.client_authentication}`);
    for (const [name, value] of token_request.form) lines.push(`  ${name}=${value}`);
  }
  if (cache_key !== undefined)
    lines.push('', 'The issued token is cached under', ...cache_key.map((part) => `  ${part}`));
  if (others.length > 0)
    lines.push('', 'Why not the others', ...others.map((other) => `  ${other.route}: ${other.why}`));
  return lines.join('\n');
}
