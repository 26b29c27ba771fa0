import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';
import { readPeerCertificate } from './certificate.ts';
import type { Pool } from './check-context.ts';
import { credentialFinding } from './check-server.ts';
import { type ConfigPaths, codeOf, tlsWanted } from './connection.ts';
import { type Finding, fine, warning } from './finding.ts';
import { unreachable } from './unreachable.ts';

/** A backend that is connected to may take this long to answer before something is said of it. */
const PATIENCE_MS = 3000;

/**
 * Can the backend of a route be reached as the proxy reaches it? It is asked with HEAD, and bears no token: that it answers is
 * all, whatever it answers.
 */
export async function checkBackend(route: Route, pool: Pool): Promise<Finding> {
  const { origin, path } = route.upstream;
  const peer = upstreamPeer(route);
  const places = placesOf(route);
  try {
    const dispatcher = await pool(peer);
    const statusCode = await statusOf(dispatcher, origin, path || '/', peer.connectMs);
    // Servers that serve TLS there say so to a person, by 400.
    const wantsTls =
      statusCode === 400 && origin.startsWith('http:') && (await readPeerCertificate(origin)) !== undefined;
    return wantsTls ? tlsWanted(origin, places) : reached(origin);
  } catch (error) {
    if (error instanceof CambistError) return credentialFinding(error);
    if (codeOf(error) === 'TimeoutError') return silent(origin, places);
    return unreachable({ url: origin, error, places, ca: peer.tls?.ca, timeoutMs: peer.connectMs });
  }
}

/** By `dispatch`, as the proxy does: a pool that speaks HTTP/2 has no other method. */
function statusOf(dispatcher: Dispatcher, origin: string, path: string, connectMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    // Of connecting without an end, and of a handshake of HTTP/2 that nobody answers, the dispatcher says nothing.
    const connecting = AbortSignal.timeout(connectMs + PATIENCE_MS);
    connecting.addEventListener('abort', () => reject(connecting.reason as Error), { once: true });
    dispatcher.dispatch(
      { origin, path, method: 'HEAD' },
      {
        // Here the connection stands.
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
  return fine('backend_reached', `the backend ${origin} answers${trust}`);
}

function silent(origin: string, { address }: ConfigPaths): Finding {
  return warning('backend_silent', `the backend ${origin} has not answered HEAD within ${PATIENCE_MS} ms`, {
    why: 'it may be slow, or hold such a request open; or something before it takes connections and passes nothing on',
    fix: `see whether another port than that of ${address} is meant, and how the backend answers from this machine or pod`,
  });
}

function placesOf({ name }: Route): ConfigPaths {
  const route = `routes.${name}`;
  return {
    address: `${route}.upstream`,
    timeout: `${route}.timeouts.connect`,
    ca: `${route}.tls.ca`,
    certificate: `${route}.tls.certificate and private_key`,
  };
}
