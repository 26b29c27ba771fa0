import { isIP } from 'node:net';
import { TLSSocket } from 'node:tls';
import { withoutBrackets } from '../host-names.ts';
import { secured } from '../listeners/idle-connection.ts';
import type { HandshakeFailure } from '../observability/proxy-observer.ts';
import { ARRIVAL, type Arrived, type TlsBridge } from '../proxy/arrival.ts';
import { readFirstBytes } from './client-hello.ts';
import { causeOf, type ReportFailure } from './handshake-failure.ts';
import type { HostCertificates } from './host-certificates.ts';

export interface TerminationOptions {
  readonly certificates: HostCertificates;
  /** May the authority sign for a host? */
  readonly permits: (host: string) => boolean;
  readonly failed: ReportFailure;
}

/** Longest handshake, from its first byte. */
const HANDSHAKE_MS = 10_000;

/** Terminates TLS with certificates of the authority. The host of a connection is decided before OpenSSL reads its first byte. */
export function createTlsBridge({ certificates, permits, failed }: TerminationOptions): TlsBridge {
  return {
    accept(socket, arrival, serve) {
      const { host } = arrival;
      const name = withoutBrackets(host);
      let settled = false;
      const fail = (cause: HandshakeFailure, error?: unknown): void => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        failed(socket, host, cause, error);
      };
      const timer = setTimeout(() => fail('timeout'), HANDSHAKE_MS);
      const leave = (): void => fail('closed');
      socket.once('close', leave);

      if (arrival.serverName !== undefined) {
        decide(arrival.serverName);
      } else {
        readFirstBytes(socket, (hello) => {
          if (hello.kind === 'malformed') fail('protocol');
          else decide(hello.serverName);
        });
      }

      function decide(serverName: string | undefined): void {
        if (!namesHost(serverName, name)) fail('server_name');
        else if (!permits(name)) fail('excluded');
        else shake();
      }

      function shake(): void {
        if (settled) return;
        let secure: TLSSocket;
        try {
          const secureContext = certificates.contextFor(name);
          secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
        } catch (error) {
          fail('internal', error);
          return;
        }
        const broken = (error: Error): void => fail(causeOf(error), error);
        secure.once('error', broken);
        // The connection may be half-open: it stays open when the agent ends its side.
        secure.once('end', leave);
        secure.once('secure', () => {
          if (settled) return;
          // A second ClientHello must not name another host. A resumed session of TLS 1.2 has no name here: its ticket is bound to the
          // certificate.
          const serverName = serverNameOf(secure);
          if (serverName !== undefined && serverName !== name) {
            fail('server_name');
            return;
          }
          settled = true;
          clearTimeout(timer);
          socket.off('close', leave);
          secure.off('error', broken);
          secure.off('end', leave);
          watchFirstRequest(secure, host);
          secured.set(socket, secure);
          serve(secure);
        });
      }
    },
  };

  /** Clients that verify a certificate after the handshake close without a request. */
  function watchFirstRequest(secure: TLSSocket, host: string): void {
    // A client that resumes a session has trusted the certificate before. MCP clients often close a spare connection.
    if (secure.isSessionReused()) return;
    secure.once('close', () => {
      // Otherwise cambist closed it: a new connection took its place, or the process stops.
      const isByAgent = secure.readableEnded || secure.errored !== null;
      if (!isByAgent || (secure as Arrived)[ARRIVAL]?.isUsed === true) return;
      failed(secure, host, 'closed');
    });
  }
}

/** An address has no server name (RFC 6066 section 3). */
function namesHost(serverName: string | undefined, host: string): boolean {
  return isIP(host) === 0 ? serverName === host : serverName === undefined;
}

function serverNameOf({ servername }: TLSSocket & { readonly servername?: string | false | null }): string | undefined {
  return servername === false || servername === null ? undefined : servername?.toLowerCase();
}
