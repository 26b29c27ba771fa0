import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { parseChallenges } from '../proxy/challenges.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';
import { readPeerCertificate } from './certificate.ts';
import type { CheckContext } from './check-context.ts';
import { credentialFinding } from './check-server.ts';
import { skewOf } from './clocks.ts';
import { type ConfigPaths, settingsOfUpstream } from './config-paths.ts';
import { codeOf, tlsRequired, unreachable } from './connection.ts';
import { type Finding, fine, problem, shortAscii, warning } from './finding.ts';
import {
  DISCOVER,
  INITIALIZE,
  isJsonRpc,
  isWebPage,
  type ProbeResponse,
  type ProbeTarget,
  sendMessage,
  sendProbe,
} from './mcp-probe.ts';
import { resourceMetadataFindings } from './resource-metadata.ts';

/** A backend that accepts the connection may take this long to respond. */
const PATIENCE_MS = 3000;

export interface BackendCheck {
  readonly findings: readonly Finding[];
  /** Milliseconds that the backend's clock is ahead of this machine's. Undefined if it states no date. */
  readonly skewMs?: number | undefined;
}

/**
 * Connects to the backend of a route as the proxy does, and sends an MCP request without a token. Compares the backend's
 * protected resource metadata with the route.
 */
export async function checkBackend(route: Route, { pool, clock }: CheckContext): Promise<BackendCheck> {
  const { origin, path } = route.upstream;
  const peer = upstreamPeer(route);
  const settings = settingsOfUpstream(route);
  const { paths } = settings;
  try {
    const dispatcher = await pool(peer);
    const target = { dispatcher, origin, path: path || '/', connectMs: peer.connectMs, patienceMs: PATIENCE_MS };
    const sentAtMs = clock.wallMs();
    const response = await probe(target);
    const skewMs = skewOf({ sentAtMs, respondedAtMs: clock.wallMs(), date: response.header('date') });
    // Servers with TLS on this port respond to plain http with 400.
    if (response.status === 400 && origin.startsWith('http:') && (await readPeerCertificate(origin)) !== undefined) {
      return { findings: [tlsRequired(origin, paths)], skewMs };
    }
    const findings = responseFindings(route, response, paths);
    if (findings.some(({ severity }) => severity === 'error')) return { findings, skewMs };
    return { findings: [...findings, ...(await resourceMetadataFindings(route, target, response))], skewMs };
  } catch (error) {
    if (error instanceof CambistError) return { findings: [credentialFinding(error)] };
    if (codeOf(error) === 'TimeoutError') return { findings: [silent(origin, paths)] };
    return { findings: [await unreachable({ url: origin, error, ...settings })] };
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

/** Explains the response to a request without a token. */
function responseFindings(route: Route, response: ProbeResponse, paths: ConfigPaths): Finding[] {
  const { status } = response;
  const { origin, path } = route.upstream;
  const url = `${origin}${path || '/'}`;
  if (status === 404 || status === 405) {
    return [
      problem('backend_endpoint_missing', `the backend returns ${status} to an MCP request at ${url}`, {
        why: 'the address has no MCP endpoint',
        fix: `set ${paths.address} to the URL of the MCP endpoint, often with the path /mcp`,
      }),
    ];
  }
  if (status >= 300 && status < 400) {
    const location = shortAscii(response.header('location') ?? '');
    return [
      problem('backend_redirects', `the backend redirects ${url} to "${location}" (${status})`, {
        why: 'cambist relays redirects, and clients drop their token when they follow one',
        fix: `set ${paths.address} to the address that the backend redirects to`,
      }),
    ];
  }
  if (status >= 500) {
    return [
      problem('backend_error', `the backend returns ${status} at ${url}`, {
        why: 'it is faulty or not ready, or a gateway in front of it cannot reach it',
        fix: "check the backend's log for this moment",
      }),
    ];
  }
  const trust = origin.startsWith('https:') ? ', and its certificate is trusted' : '';
  const reached = fine('backend_reached', `the backend ${origin} returns ${status} without a token${trust}`);
  if (!issuesTokens(route)) return [reached];
  if (status === 401 && !hasBearerChallenge(response)) return [reached, challengeMissing()];
  if (status < 300 && isWebPage(response)) return [reached, webPage(paths)];
  if (status < 300 && isJsonRpc(response)) return [reached, open()];
  return [reached];
}

/** Whether cambist sends an issued token on this route. */
function issuesTokens({ credential }: Route): boolean {
  return credential.kind === 'exchange' || credential.kind === 'client_credentials';
}

function hasBearerChallenge({ header }: ProbeResponse): boolean {
  const challenges = parseChallenges(header('www-authenticate') ?? '') ?? [];
  return challenges.some(({ scheme }) => scheme === 'bearer' || scheme === 'dpop');
}

function challengeMissing(): Finding {
  return warning('challenge_missing', 'the 401 has no Bearer challenge in WWW-Authenticate', {
    why: 'the backend may require another kind of credential than a bearer token (RFC 6750 section 3)',
    fix: 'check which credential the backend requires',
  });
}

function open(): Finding {
  return warning('backend_open', 'the backend accepts an MCP request without a token', {
    why: 'it may check tokens later, or never: then every client that reaches it can use it',
    fix: 'configure the backend to require a token, or set credential: none on the route',
  });
}

function webPage({ address }: ConfigPaths): Finding {
  return warning('backend_not_mcp', 'the backend returns a web page to an MCP request', {
    why: 'the address is that of a web site, or a gateway shows its login page to requests without a token',
    fix: `set ${address} to the URL of the MCP endpoint, often with the path /mcp, and run doctor with --call`,
  });
}

function silent(origin: string, { address }: ConfigPaths): Finding {
  return warning('backend_silent', `the backend ${origin} did not respond within ${PATIENCE_MS} ms`, {
    why: 'it may be slow, or a gateway in front of it accepts connections but forwards nothing',
    fix: `check the port of ${address}, and call the backend from this machine or pod`,
  });
}
