import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';
import { readPeerCertificate } from './certificate.ts';
import type { Pool } from './check-context.ts';
import { credentialFinding } from './check-server.ts';
import { type ConfigPaths, codeOf, tlsRequired, unreachable } from './connection.ts';
import { type Finding, fine, warning } from './finding.ts';

/** A backend that accepts the connection may take this long to respond. */
const PATIENCE_MS = 3000;

/** Connects to the backend of a route as the proxy does. Sends a HEAD request without a token; any response will do. */
export async function checkBackend(route: Route, pool: Pool): Promise<Finding> {
  const { origin, path } = route.upstream;
  const peer = upstreamPeer(route);
  const paths = configPathsOf(route);
  try {
    const dispatcher = await pool(peer);
    const statusCode = await statusOf(dispatcher, origin, path || '/', peer.connectMs);
    // Servers with TLS on this port respond to plain http with 400.
    const wantsTls =
      statusCode === 400 && origin.startsWith('http:') && (await readPeerCertificate(origin)) !== undefined;
    return wantsTls ? tlsRequired(origin, paths) : reached(origin);
  } catch (error) {
    if (error instanceof CambistError) return credentialFinding(error);
    if (codeOf(error) === 'TimeoutError') return silent(origin, paths);
    return unreachable({ url: origin, error, paths, ca: peer.tls?.ca, timeoutMs: peer.connectMs });
  }
}

/** Uses `dispatch`, as the proxy does: a pool for HTTP/2 has no other method. */
function statusOf(dispatcher: Dispatcher, origin: string, path: string, connectMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    // The dispatcher reports neither endless connecting nor an HTTP/2 handshake without a response.
    const connecting = AbortSignal.timeout(connectMs + PATIENCE_MS);
    connecting.addEventListener('abort', () => reject(connecting.reason as Error), { once: true });
    dispatcher.dispatch(
      { origin, path, method: 'HEAD' },
      {
        // The connection is established.
        onRequestStart: (controller) => {
          const waiting = AbortSignal.timeout(PATIENCE_MS);
          waiting.addEventListener('abort', () => controller.abort(waiting.reason as Error), { once: true });
        },
        onResponseStart: (_controller, status) => resolve(status),
        onResponseError: (_controller, error) => reject(error),
      },
    );
  });
}

function reached(origin: string): Finding {
  const trust = origin.startsWith('https:') ? ', and its certificate is trusted' : '';
  return fine('backend_reached', `the backend ${origin} responds${trust}`);
}

function silent(origin: string, { address }: ConfigPaths): Finding {
  return warning('backend_silent', `the backend ${origin} did not respond to HEAD within ${PATIENCE_MS} ms`, {
    why: 'it may be slow or keep such requests open, or a gateway in front of it accepts connections but forwards nothing',
    fix: `check the port of ${address}, and call the backend from this machine or pod`,
  });
}

function configPathsOf({ name }: Route): ConfigPaths {
  const route = `routes.${name}`;
  return {
    address: `${route}.upstream`,
    timeout: `${route}.timeouts.connect`,
    ca: `${route}.tls.ca`,
    certificate: `${route}.tls.certificate and private_key`,
  };
}
