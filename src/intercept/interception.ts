import type { Intercept, Route } from '../config/config.ts';
import type { Logger } from '../observability/logger.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { TlsBridge } from '../proxy/tls-bridge.ts';
import { nameConstraintsOf } from '../transport/certificates.ts';
import { permitsHost } from '../transport/name-constraints.ts';
import { openInterceptAuthority } from './authority.ts';
import { createHostCertificates } from './host-certificates.ts';
import { excludedRoutes, interceptedHosts } from './hosts.ts';
import { createTlsBridge } from './terminate-tls.ts';
import { writeCertificates, writeVariables } from './trust-folder.ts';

/** Interception of TLS from agents, for the life of the process. */
export interface Interception {
  createTlsBridge(observer: ProxyObserver): TlsBridge;
  /**
   * Logs the routes of a config whose hosts the authority may not sign for.
   * @returns the keys that take effect with another authority
   */
  serve(routes: readonly Route[]): string[];
  /** Tells agents where the proxy listens. @param listen `http://` and an address, or a Unix socket */
  announce(listen: string): Promise<void>;
}

/**
 * Opens the certificate authority and writes the files by which agents trust it.
 * @throws {Error} for the operator
 */
export async function startInterception(
  { ca, trustDir }: Intercept,
  routes: readonly Route[],
  logger: Logger,
): Promise<Interception> {
  const authority = await openInterceptAuthority(ca, interceptedHosts(routes));
  const constraints = nameConstraintsOf(authority.cert);
  if (constraints === undefined) {
    logger.warn({}, 'the certificate of intercept.ca has no name constraints; its key can impersonate every host');
  }
  await writeCertificates(trustDir, authority.cert, process.env);
  const permits = (host: string): boolean => constraints === undefined || permitsHost(constraints, host);
  return {
    createTlsBridge(observer) {
      return createTlsBridge({ certificates: createHostCertificates(authority), permits, observer, logger });
    },
    serve(served) {
      const excluded = excludedRoutes(authority.cert, served);
      if (excluded.length === 0) return [];
      const hosts = excluded.map(({ match }) => match.host);
      logger.warn({ hosts }, 'the certificate of intercept.ca excludes these hosts; restart the pod to intercept them');
      return excluded.map(({ name }) => `routes.${name}.match.host`);
    },
    announce: (listen) => writeVariables(trustDir, agentUrl(listen)),
  };
}

/** The URL by which agents of the same pod reach a listener. Undefined for a Unix socket. */
function agentUrl(listen: string): string | undefined {
  if (!listen.startsWith('http:')) return undefined;
  const { hostname, port } = new URL(listen);
  const loopback = { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' }[hostname] ?? hostname;
  return `http://${loopback}:${port || 80}`;
}
