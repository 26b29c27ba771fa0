import type { Socket } from 'node:net';
import type { Config } from '../config/config.ts';
import type { Intercept } from '../config/intercept.ts';
import type { Route } from '../config/route.ts';
import { type Endpoint, endpointOf, isEveryAddress } from '../host-names.ts';
import { isLoopbackPeer, reachableUrlHost } from '../listeners/this-machine.ts';
import type { Logger } from '../observability/logger.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { TlsBridge } from '../proxy/arrival.ts';
import { nameConstraintsOf, permitsHost } from '../transport/certificates.ts';
import type { Reach } from '../transport/dispatchers.ts';
import { createDnsLookup } from '../transport/dns-lookup.ts';
import { openInterceptAuthority } from './authority.ts';
import { createReportFailure } from './handshake-failure.ts';
import { createHostCertificates } from './host-certificates.ts';
import { excludedRoutes, interceptedHosts } from './hosts.ts';
import { type InterceptListeners, type InterceptListenersOptions, openInterceptListeners } from './redirected.ts';
import { createTlsBridge } from './terminate-tls.ts';
import { writeCertificates, writeVariables } from './write-trust-folder.ts';

/** Interception of TLS from agents, for the life of the process. */
export type Interception = Awaited<ReturnType<typeof startInterception>>;

/**
 * Opens the certificate authority and writes the files by which agents trust it.
 * @throws {Error} for the operator
 */
export async function startInterception(
  { ca, trustDir, listen: addresses }: Intercept,
  config: Pick<Config, 'routes' | 'teams'>,
  logger: Logger,
) {
  const authority = await openInterceptAuthority(ca, interceptedHosts(config));
  const constraints = nameConstraintsOf(authority.cert);
  if (constraints === undefined) {
    logger.warn({}, 'the certificate of intercept.ca has no name constraints; its key can impersonate every host');
  }
  await writeCertificates(trustDir, authority.cert, process.env, (variable) => {
    logger.warn({}, `the file of ${variable} has no usable certificate; the trust folder omits it`);
  });
  const permits = (host: string): boolean => constraints === undefined || permitsHost(constraints, host);
  const own = createOwnAddresses();
  const reach: Reach = { refuse: own.refuse, ...(addresses.length > 0 && { lookup: createDnsLookup() }) };
  return {
    /** Keeps connections to upstreams and authorization servers from leading back to cambist. With `listen`, DNS alone resolves them. */
    reach,
    createTlsBridge(observer: ProxyObserver): TlsBridge {
      const failed = createReportFailure(observer, logger);
      return createTlsBridge({ certificates: createHostCertificates(authority), permits, failed });
    },
    /** Opens `intercept.listen`. @throws {Error} with the address and the reason */
    async open(options: Omit<InterceptListenersOptions, 'failed' | 'reach'>): Promise<InterceptListeners> {
      const failed = createReportFailure(options.observer, logger);
      const listeners = await openInterceptListeners(addresses, { ...options, failed, reach }, logger);
      for (const address of listeners.addresses) own.add(address);
      return listeners;
    },
    /**
     * Logs the routes of a config whose hosts the authority may not sign for.
     * @returns the keys that take effect with another authority
     */
    serve(served: readonly Route[]): string[] {
      const excluded = excludedRoutes(authority.cert, served);
      if (excluded.length === 0) return [];
      const hosts = excluded.map(({ match }) => match.host);
      logger.warn({ hosts }, 'the certificate of intercept.ca excludes these hosts; restart the pod to intercept them');
      return excluded.map(({ name }) => `routes.${name}.match.host`);
    },
    /** Refuses connections to another listener of cambist. @param address as `openListener` returns it */
    refuse: own.add,
    /** Writes the URL of the proxy for agents, and refuses upstream connections to it. @param listen as `openListener` returns it */
    announce(listen: string): Promise<void> {
      own.add(listen);
      return writeVariables(trustDir, agentUrl(listen));
    },
  };
}

/** The URL by which agents of the same pod reach a listener. Undefined for a Unix socket, and with TLS, for which proxy variables do not serve. */
function agentUrl(listen: string): string | undefined {
  if (!listen.startsWith('http:')) return undefined;
  const { host, port } = endpointOf(new URL(listen));
  return `http://${reachableUrlHost(host)}:${port}`;
}

/** The addresses of cambist's own listeners. A request to one of them would come back. */
export function createOwnAddresses() {
  const own: Endpoint[] = [];
  return {
    /** @param address `http://host:port` or `https://host:port`; a Unix socket is ignored */
    add(address: string): void {
      if (address.startsWith('http')) own.push(endpointOf(new URL(address)));
    },
    /** Returns the reason to refuse a new connection: it leads back to cambist. */
    refuse({ localAddress, remoteAddress = '', remotePort }: Socket): Error | undefined {
      const remote = plain(remoteAddress);
      const isOwn = own.some(({ host, port }) => {
        if (port !== remotePort) return false;
        if (isEveryAddress(host)) return isLoopbackPeer(remote) || remoteAddress === localAddress;
        return host === remote;
      });
      if (!isOwn) return undefined;
      const message = `${remoteAddress}:${remotePort} is cambist itself: its name must lead to the backend in DNS`;
      return Object.assign(new Error(message), { code: 'ERR_LOOP' });
    },
  };
}

/** An IPv4 address that a dual-stack socket maps to IPv6. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
