import type { Route } from '../config/route.ts';
import { parseChallenges } from '../proxy/challenges.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { type Finding, fine, listed, problem, shortAscii } from './finding.ts';
import { type ProbeResponse, type ProbeTarget, sendProbe } from './mcp-probe.ts';
import { differInSlash } from './metadata.ts';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/** The fields of protected resource metadata that the doctor compares (RFC 9728 section 2). */
interface ResourceMetadata {
  readonly resource: string;
  readonly issuers: readonly string[];
}

/**
 * Reads the protected resource metadata of a backend and compares it with the route. Reports nothing if the backend has none,
 * or the route sends no issued token.
 * @param challenged the backend's response to a request without a token
 */
export async function resourceMetadataFindings(
  route: Route,
  target: ProbeTarget,
  challenged: ProbeResponse,
): Promise<Finding[]> {
  const { credential } = route;
  if (credential.kind !== 'exchange' && credential.kind !== 'client_credentials') return [];
  for (const path of metadataPaths(target.path, challenged)) {
    const metadata = await fetchMetadata(target, path);
    if (metadata === undefined) continue;
    const issuer = credential.authorizationServer.issuer;
    return [
      resourceFinding(metadata, credential.target.resource, route.name),
      ...(issuer === undefined ? [] : issuerFindings(metadata, issuer)),
    ];
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
  const fromChallenge = named !== undefined && URL.canParse(named) ? [pathOf(new URL(named))] : [];
  return [...new Set([...fromChallenge, `${WELL_KNOWN}${path === '/' ? '' : path}`, WELL_KNOWN])];
}

function pathOf({ pathname, search }: URL): string {
  return pathname + search;
}

async function fetchMetadata(target: ProbeTarget, path: string): Promise<ResourceMetadata | undefined> {
  const request = { method: 'GET', path, headers: { accept: 'application/json' } } as const;
  const response = await sendProbe(target, request).catch(() => undefined);
  return response?.status === 200 ? readMetadata(response.text) : undefined;
}

/** @returns undefined if the text is not protected resource metadata */
function readMetadata(text: string): ResourceMetadata | undefined {
  const { resource, authorization_servers: servers } = parseJsonObject(text) ?? {};
  if (typeof resource !== 'string') return undefined;
  return { resource, issuers: Array.isArray(servers) ? servers.filter((one) => typeof one === 'string') : [] };
}

/** @param requested the resources in the route's token request; none if the route names its backend by audience or scope */
function resourceFinding({ resource }: ResourceMetadata, requested: readonly string[], routeName: string): Finding {
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

function issuerFindings({ issuers }: ResourceMetadata, issuer: string): Finding[] {
  if (issuers.length === 0) return [];
  if (issuers.some((one) => one === issuer || differInSlash(one, issuer))) {
    return [fine('backend_issuer_matches', `the backend's metadata lists the authorization server "${issuer}"`)];
  }
  const what = `the backend's metadata lists the authorization server ${listed(issuers)}, but the route uses "${issuer}"`;
  return [
    problem('backend_issuer_differs', what, {
      why: 'the backend may refuse tokens of any other issuer',
      fix: "use the backend's authorization server for the route, or add the route's to the backend",
    }),
  ];
}
