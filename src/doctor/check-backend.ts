import type { Route, TokenCredential } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { parseChallenges } from '../proxy/challenges.ts';
import { toRequestUrl } from '../tokens/bounded-request.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import type { CheckContext } from './check-context.ts';
import { credentialFinding, type Finding, fine, listed, problem, shortAscii, warning } from './finding.ts';
import {
  DISCOVER,
  INITIALIZE,
  isJsonRpc,
  isWebPage,
  type ProbeResponse,
  type ProbeTarget,
  probeTarget,
  sendMessage,
  sendProbe,
} from './mcp-probe.ts';
import { differInSlash } from './metadata-findings.ts';
import {
  type ConfigPaths,
  codeOf,
  readPeerCertificate,
  settingsOfUpstream,
  tlsRequired,
  unreachable,
} from './unreachable.ts';

/** A backend that accepts the connection may take this long to respond. */
const RESPONSE_MS = 3000;

/**
 * Connects to the backend of a route as the proxy does, and sends an MCP request without a token. Compares the backend's
 * protected resource metadata with the route.
 */
export async function checkBackend(route: Route, { pool }: CheckContext): Promise<readonly Finding[]> {
  const { origin } = route.upstream;
  const settings = settingsOfUpstream(route);
  const { paths } = settings;
  try {
    const target = await probeTarget(route, pool, RESPONSE_MS);
    const response = await probe(target);
    // Servers with TLS on this port respond to plain http with 400.
    if (response.status === 400 && origin.startsWith('http:') && (await readPeerCertificate(origin)) !== undefined) {
      return [tlsRequired(origin, paths)];
    }
    const finding = responseFinding(route, response, paths);
    if (finding?.severity === 'error') return [finding];
    const trust = origin.startsWith('https:') ? ', and its certificate is trusted' : '';
    const reached = fine('backend_reached', `the backend ${origin} returns ${response.status} without a token${trust}`);
    if (!('authorizationServer' in route.credential)) return [reached];
    const judged = finding === undefined ? [reached] : [reached, finding];
    return [...judged, ...(await metadataFindings(route.name, route.credential, target, response))];
  } catch (error) {
    if (error instanceof CambistError) return [credentialFinding(error)];
    if (codeOf(error) !== 'TimeoutError') return [await unreachable({ url: origin, error, ...settings })];
    return [
      warning('backend_silent', `the backend ${origin} did not respond within ${RESPONSE_MS} ms`, {
        why: 'it may be slow, or a gateway in front of it accepts connections but forwards nothing',
        fix: `check the port of ${paths.address}, and call the backend from this machine or pod`,
      }),
    ];
  }
}

/**
 * Finds a request that the backend understands: `initialize`, `server/discover`, or the GET of the old HTTP+SSE transport.
 * @returns the response to it, or else that to `initialize`
 */
async function probe(target: ProbeTarget): Promise<ProbeResponse> {
  const first = await sendMessage(target, INITIALIZE);
  if (isUnderstood(first)) return first;
  const second = await sendMessage(target, DISCOVER);
  if (isUnderstood(second)) return second;
  if (first.status !== 404 && first.status !== 405) return first;
  const { path } = target;
  const third = await sendProbe(target, { method: 'GET', path, headers: { accept: 'text/event-stream' } });
  const isStream = third.header('content-type')?.startsWith('text/event-stream') === true;
  return third.status === 401 || (third.status === 200 && isStream) ? third : first;
}

function isUnderstood({ status }: ProbeResponse): boolean {
  return status === 401 || (status >= 200 && status < 300);
}

/** @returns undefined if the response is that of an MCP endpoint which requires a bearer token, or the status says too little */
function responseFinding(
  { upstream: { origin, path } }: Route,
  response: ProbeResponse,
  { address }: ConfigPaths,
): Finding | undefined {
  const { status, header } = response;
  const url = `${origin}${path || '/'}`;
  const toEndpoint = `set ${address} to the URL of the MCP endpoint, often with the path /mcp`;
  if (status === 404 || status === 405) {
    return problem('backend_endpoint_missing', `the backend returns ${status} to an MCP request at ${url}`, {
      why: 'the address has no MCP endpoint',
      fix: toEndpoint,
    });
  }
  if (status >= 300 && status < 400) {
    const location = shortAscii(header('location') ?? '');
    return problem('backend_redirects', `the backend redirects ${url} to "${location}" (${status})`, {
      why: 'cambist relays redirects, and clients drop their token when they follow one',
      fix: `set ${address} to the address that the backend redirects to`,
    });
  }
  if (status >= 500) {
    return problem('backend_error', `the backend returns ${status} at ${url}`, {
      why: 'it is faulty or not ready, or a gateway in front of it cannot reach it',
      fix: "check the backend's log for this moment",
    });
  }
  const challenges = parseChallenges(header('www-authenticate') ?? '') ?? [];
  if (status === 401 && !challenges.some(({ scheme }) => scheme === 'bearer' || scheme === 'dpop')) {
    return warning('challenge_missing', 'the 401 has no Bearer challenge in WWW-Authenticate', {
      why: 'the backend may require another kind of credential than a bearer token (RFC 6750 section 3)',
      fix: 'check which credential the backend requires',
    });
  }
  if (status < 300 && isWebPage(response)) {
    return warning('backend_not_mcp', 'the backend returns a web page to an MCP request', {
      why: 'the address is that of a web site, or a gateway shows its login page to requests without a token',
      fix: `${toEndpoint}, and run doctor with --call`,
    });
  }
  if (status >= 300 || !isJsonRpc(response)) return undefined;
  return warning('backend_open', 'the backend accepts an MCP request without a token', {
    why: 'it may check tokens later, or never: then every client that reaches it can use it',
    fix: 'configure the backend to require a token, or set credential: none on the route',
  });
}

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/**
 * Reads the protected resource metadata of a backend and compares it with the route. Reports nothing if the backend has none.
 * @param challenged the backend's response to a request without a token
 */
async function metadataFindings(
  routeName: string,
  { authorizationServer: { issuer }, target: { resource: requested } }: TokenCredential,
  target: ProbeTarget,
  challenged: ProbeResponse,
): Promise<Finding[]> {
  for (const path of metadataPaths(target.path, challenged)) {
    const request = { method: 'GET', path, headers: { accept: 'application/json' } } as const;
    const response = await sendProbe(target, request).catch(() => undefined);
    // RFC 9728 section 2
    const { resource, authorization_servers: servers } = parseJsonObject(response?.text ?? '') ?? {};
    if (response?.status !== 200 || typeof resource !== 'string') continue;
    const issuers = Array.isArray(servers) ? servers.filter((one) => typeof one === 'string') : [];
    const named = resourceFinding(resource, requested, routeName);
    return issuer === undefined || issuers.length === 0 ? [named] : [named, issuerFinding(issuers, issuer)];
  }
  return [];
}

/**
 * Paths of the metadata at the backend's own origin. The URL in a challenge may name another host, which is the backend's
 * address for its clients: only its path is used, because no response may direct the doctor to another host.
 * @see RFC 9728 sections 3.1 and 5.1
 */
function metadataPaths(path: string, { header }: ProbeResponse): readonly string[] {
  const parameters = (parseChallenges(header('www-authenticate') ?? '') ?? []).flatMap((one) => one.parameters);
  const named = parameters.find(({ name }) => name === 'resource_metadata')?.value;
  const fromChallenge = named !== undefined && URL.canParse(named) ? [toRequestUrl(named).path] : [];
  return [...new Set([...fromChallenge, `${WELL_KNOWN}${path === '/' ? '' : path}`, WELL_KNOWN])];
}

/** @param requested the resources in the route's token request; none if the route names its backend by audience or scope */
function resourceFinding(resource: string, requested: readonly string[], routeName: string): Finding {
  const named = `the backend's metadata has the resource "${shortAscii(resource)}"`;
  if (requested.length === 0) return fine('resource_not_requested', `${named}; the route requests none`);
  if (requested.includes(resource)) return fine('resource_matches', `${named}, as requested by the route`);
  const slash = requested.some((one) => differInSlash(one, resource));
  return problem('resource_differs', `${named}, but the route requests ${listed(requested)}`, {
    why: slash
      ? 'they differ in the trailing slash; RFC 8707 compares resources exactly'
      : 'the token may be for an address that the backend does not know; the default of resource is the upstream',
    fix: `set routes.${routeName}.resource to "${shortAscii(resource)}"`,
  });
}

function issuerFinding(issuers: readonly string[], issuer: string): Finding {
  if (issuers.some((one) => one === issuer || differInSlash(one, issuer))) {
    return fine('backend_issuer_matches', `the backend's metadata lists the authorization server "${issuer}"`);
  }
  const what = `the backend's metadata lists the authorization server ${listed(issuers)}, but the route uses "${issuer}"`;
  return problem('backend_issuer_differs', what, {
    why: 'the backend may refuse tokens of any other issuer',
    fix: "use the backend's authorization server for the route, or add the route's to the backend",
  });
}
