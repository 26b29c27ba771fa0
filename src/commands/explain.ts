import { parseArgs } from 'node:util';
import type { Config } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import { needsCaller, readsCaller, whyUndecidable } from '../config/route.ts';
import { printable, printableJson } from '../observability/printable.ts';
import { metadataUrl } from '../proxy/resource-metadata.ts';
import type { KnownFacts } from '../routing/conditions.ts';
import { decodeName } from '../routing/mcp-message.ts';
import { createConfigTable } from '../routing/region-table.ts';
import {
  addressedAuthority,
  isValidHost,
  parseRequestTarget,
  type RequestTarget,
  readHost,
  upstreamPath,
} from '../routing/request-target.ts';
import { whyNot } from '../routing/why-routed.ts';
import { type Command, configFile, EXIT, UsageError } from './command.ts';
import { explainAgent } from './explain-agent.ts';
import {
  explainCacheKey,
  explainSent,
  explainSharing,
  explainTokenRequests,
  type TokenRequestExplanation,
} from './explain-token-request.ts';
import { loadOrReport } from './report-problems.ts';
import { USAGES } from './usages.ts';

/** Shows which route a request takes, why it takes no other route, and the token request. */
export const explain: Command = async (args) => {
  const options = USAGES.explain.flags;
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const [url, ...more] = positionals;
  if (url === undefined || more.length > 0) throw new UsageError('explain takes one URL: the one that the agent calls');
  if (!/^(?:https?:\/\/|\/)/i.test(url)) {
    throw new UsageError('the URL must begin with http:// or https://, or be a path that begins with /');
  }
  const headers = (values.header ?? []).map(parseHeader);
  const loaded = await loadOrReport(configFile(values.config));
  if (loaded === undefined) return EXIT.failed;
  const { config } = loaded;
  const explanation = explainRequest(config, values.request, url, headers, values.agent);
  console.log(values.json === true ? printableJson(explanation, 2) : describe(explanation));
  const isRefused = explanation.route === undefined || explanation.agent?.refused !== undefined;
  return isRefused ? EXIT.failed : EXIT.done;
};

type Header = readonly [name: string, value: string];

/** The message does not repeat a malformed header, because it may be a token. */
function parseHeader(line: string): Header {
  const colon = line.indexOf(':');
  if (colon < 1) throw new UsageError("-H takes 'name: value', but one header has no name before a colon");
  return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
}

/** The host is the URL's authority, unless a header names another, as with `curl -H 'host: …'`. */
function readTarget(url: string, headers: readonly Header[], hostHeader: string | undefined): RequestTarget {
  const valuesOf = (name: string) => headers.filter(([other]) => other === name).map(([, value]) => value);
  const hosts = valuesOf('host');
  if (hosts.length > 1 || !isValidHost(hosts[0] ?? '')) {
    throw new UsageError('Host must be given once, as a host with an optional port: cambist refuses other requests');
  }
  const named = hostHeader === undefined ? [] : valuesOf(hostHeader);
  return parseRequestTarget(hosts.length === 0 ? url : withoutAuthority(url), hosts, named);
}

function withoutAuthority(url: string): string {
  const rest = url.replace(/^https?:\/\/[^/?#]*/i, '');
  return rest.startsWith('/') || rest === url ? rest : `/${rest}`;
}

function explainRequest(
  config: Config,
  method: string,
  url: string,
  headers: readonly Header[],
  agent: string | undefined,
) {
  const isSecure = /^https:/i.test(url);
  const target = readTarget(url, headers, isSecure ? undefined : config.hostHeader);
  const facts = readFacts(method, headers);
  const misdirected = isSecure && target.host !== readHost(addressedAuthority(url, [])) ? true : undefined;
  const table = createConfigTable(config);
  const owner = table.ownerOf(target);
  let route: Route | undefined;
  let isClosed = false;
  try {
    route = misdirected ? undefined : table.match(target, facts);
  } catch {
    isClosed = true;
  }
  const others = config.routes
    .filter((other) => other !== route)
    .map((other) => ({
      route: other.name,
      why: other.team === owner ? whyNot(other, target, route, facts) : whyNotOwned(owner, other),
    }));
  const { message } = facts;
  return {
    request: { method, host: target.host, path: target.path, mcp_method: message?.method, mcp_name: message?.name },
    /** The `Host` of an https request is that of its connection, so another one is refused. */
    misdirected,
    route: route?.name,
    /** Whose region the request is in. */
    team: owner,
    closed: isClosed || undefined,
    others,
    agent: route && explainAgent(route, config, agent),
    upstream: route && route.upstream.origin + upstreamPath(route, target),
    credential: route?.credential.kind,
    sent_as: route && explainSent(route),
    consent: route?.consent,
    on_missing_subject: route?.credential.kind === 'exchange' ? route.credential.onMissingSubject : undefined,
    /** Handshakes and lists without a caller's token. */
    unattended: route?.unattended,
    caller: route && callerOf(route, config),
    /** Without a caller's token. */
    allowed_origins:
      route === undefined || (needsCaller(route) && route.unattended === undefined) ? undefined : route.allowedOrigins,
    step_up: route === undefined || route.stepUp.length === 0 ? undefined : route.stepUp,
    protected_resource_metadata:
      route &&
      metadataUrl(route, target.path, {
        url,
        rawHeaders: headers.flat(),
        credentialHeaders: new Set(['authorization', route.subjectToken.header]),
        secure: isSecure,
      }),
    ...explainTokenRequests(route, config),
    cache_key: route && explainCacheKey(route, config),
    sharing: route && explainSharing(route, config),
    revoked_by: route && revokedBy(route, config),
    decision: route && decisionOn(route, config),
  };
}

type Explanation = ReturnType<typeof explainRequest>;

function whyNotOwned(owner: string | undefined, { team }: Route): string {
  return owner === undefined
    ? `the request is not in the region of "${team}"`
    : `the request is in the region of "${owner}", which has routes of its own`;
}

/** The ways in which a revocation of the caller's token reaches cambist. */
function revokedBy(route: Route, { signals, cache }: Config): string[] | undefined {
  if (!readsCaller(route)) return undefined;
  const { introspection } = route.subjectToken.verify ?? {};
  const asked = introspection === undefined ? [] : [`introspection at ${introspection.authorizationServer.name}`];
  const told = (signals?.transmitters ?? []).flatMap(({ name, delivery, backchannelLogout }) => [
    ...(delivery === undefined ? [] : [`Shared Signals of ${name} (${delivery})`]),
    ...(backchannelLogout ? [`back-channel logout of ${name}`] : []),
  ]);
  if (signals?.revoke !== undefined) told.push('cambist revoke');
  const others = told.length > 0 && cache.shared !== undefined ? ['other replicas'] : [];
  const ways = [...asked, ...told, ...others];
  return ways.length === 0 ? undefined : ways;
}

/** The response to a data plane that asks about a request on the route. */
function decisionOn(route: Route, { decisions }: Config): string | undefined {
  if (decisions === undefined) return undefined;
  const why = whyUndecidable(route, decisions.routesBy === 'name');
  if (why !== undefined) return `refused, because ${why}`;
  const isPlain = route.credential.kind === 'none' || route.credential.kind === 'passthrough';
  const isNamed = decisions.routesBy === 'name';
  const path = isNamed ? `/${route.name}` : '';
  const ways = [
    ...(decisions.http === undefined ? [] : [`at /ext-authz${path}, /forward-auth${path} or /auth-request${path}`]),
    ...(decisions.grpc === undefined
      ? []
      : [isNamed ? 'by gRPC with the name in context_extensions or x-cambist-route' : 'by gRPC']),
  ];
  const credential = isPlain ? 'without a credential' : `with ${route.send?.header ?? 'Authorization'}`;
  return `200 ${credential}, asked ${ways.join(', or ')}`;
}

/** `handle`: the agent sends the handle that it got in place of the caller's token. */
function callerOf(route: Route, { inbound }: Config): 'handle' | 'handle or token' | 'token' | undefined {
  if (!readsCaller(route)) return undefined;
  if (inbound === undefined) return 'token';
  return inbound.allowRawTokens ? 'handle or token' : 'handle';
}

/** Reads the MCP message from `Mcp-Method` and `Mcp-Name`. */
function readFacts(method: string, headers: readonly Header[]): KnownFacts {
  const headerOf = (name: string) => headers.find(([other]) => other === name)?.[1];
  const mcpMethod = headerOf('mcp-method');
  const mcpName = headerOf('mcp-name');
  const hasMessage = method === 'POST' && mcpMethod !== undefined;
  return {
    method,
    message: hasMessage
      ? { method: mcpMethod, name: mcpName === undefined ? undefined : decodeName(mcpName) }
      : undefined,
  };
}

function describe(explanation: Explanation): string {
  const { request, route, others, assertion_request, token_request, issued_token_check, cache_key, sharing } =
    explanation;
  const { misdirected, team, closed } = explanation;
  const message = request.mcp_method === undefined ? '' : `, ${request.mcp_method} ${request.mcp_name ?? ''}`.trimEnd();
  const path = request.path ?? '(not usable)';
  const lines = [`${request.method} host ${request.host ?? '(none)'}, path ${path}${message}`, ''];
  const found = misdirected
    ? 'Misdirected: the request gets 421 ERR_MISDIRECTED_REQUEST, because its Host is not that of its TLS connection.'
    : closed
      ? `Closed: the request gets 503 ERR_ROUTES_INVALID, because a file of "${team}" is invalid or cannot be read.`
      : 'No route: the request gets 403 ERR_ROUTE_NOT_FOUND.';
  lines.push(route === undefined ? found : `Route "${route}"`);
  if (team !== undefined) lines.push(`The request is in the region of "${team}".`);
  const { agent } = explanation;
  if (agent?.refused !== undefined) {
    const why = agent.refused.endsWith('ERR_AGENT_UNKNOWN') ? ': the route needs its token, and it has none' : '';
    lines.push(`Refused: agent "${agent.name}" gets ${agent.refused} here${why}.`);
  }
  for (const [label, text] of factsOf(explanation)) {
    if (text !== undefined) lines.push(`  ${label.padEnd(13)}${text}`);
  }
  lines.push(...describeRequest('Assertion request', assertion_request));
  lines.push(...describeRequest('Token request', token_request));
  if (issued_token_check !== undefined) lines.push('', 'Check of the issued token', `  ${issued_token_check}`);
  if (cache_key !== undefined)
    lines.push('', 'The issued token is cached under', ...cache_key.map((part) => `  ${part}`));
  if (sharing !== undefined) lines.push(`It is ${sharing}.`);
  if (others.length > 0) {
    const title = `Why no ${route === undefined ? '' : 'other '}route matches`;
    lines.push('', title, ...others.map((other) => `  ${other.route}: ${other.why}`));
  }
  // A config may name a client or scope with characters that control a terminal.
  return lines.map(printable).join('\n');
}

/** The facts about a route, each with its label. Those that are undefined are not shown. */
function factsOf(explanation: Explanation): (readonly [label: string, text: string | undefined])[] {
  const { agent, caller, consent, allowed_origins: origins } = explanation;
  const own = "cambist's own token (client_credentials)";
  const unattended = { client_credentials: own, none: 'sent without a token' };
  return [
    ['agents', agent && `only ${agent.served.join(', ')}`],
    ['known by', agent?.known_by.join('; ')],
    ['agent', agent?.identities && `${agent.name}: ${agent.identities.join('; ')}`],
    ['upstream', explanation.upstream],
    ['credential', explanation.credential],
    ['sent as', explanation.sent_as],
    ['consent at', consent && describeConsent(consent)],
    ['no token', explanation.on_missing_subject === 'client_credentials' ? own : undefined],
    [
      'unattended',
      explanation.unattended && `handshakes and lists without a caller: ${unattended[explanation.unattended]}`,
    ],
    ['caller', caller?.startsWith('handle') === true ? `${caller}, in Authorization or baggage` : undefined],
    ['web pages', origins && (origins.join(', ') || "none without a caller's token")],
    ['step-up', explanation.step_up?.join(' ')],
    ['metadata', explanation.protected_resource_metadata],
    ['subject', explanation.subject_token_check],
    ['revoked by', explanation.revoked_by?.join(', ')],
    ['decision', explanation.decision],
  ];
}

function describeConsent({ hosts, url }: NonNullable<Route['consent']>): string {
  const named = hosts.length === 0 ? [] : [`https URLs of ${hosts.join(', ')}`];
  return [...named, ...(url === undefined ? [] : [url])].join(', else ');
}

function describeRequest(title: string, request: TokenRequestExplanation | undefined): string[] {
  if (request === undefined) return [];
  const proof = request.dpop === true ? ['  DPoP: <proof made now>'] : [];
  const form = request.form.map(([name, value]) => `  ${name}=${value}`);
  return ['', title, `  POST ${request.endpoint}`, `  ${request.client_authentication}`, ...proof, ...form];
}
