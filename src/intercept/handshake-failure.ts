import type { Socket } from 'node:net';
import type { Logger } from '../observability/logger.ts';
import type { HandshakeFailure, ProxyObserver } from '../observability/proxy-observer.ts';

/** Alerts of an agent that verified the certificate and rejected it. OpenSSL names them differently from version to version. */
const REJECTED = /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)/;

/** The cause of an error during a handshake. @param error undefined where the agent left without one */
export function causeOf(error: (Error & { readonly code?: string }) | undefined): HandshakeFailure {
  const code = error?.code;
  if (code === undefined || code === 'ECONNRESET' || code === 'EPIPE') return 'closed';
  return REJECTED.test(code) ? 'untrusted' : 'protocol';
}

/** The messages of the log. They never contain the agent's own words. */
const MESSAGES: Readonly<Record<HandshakeFailure, string>> = {
  untrusted:
    'the agent rejected the certificate of this host; set SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or JAVA_TOOL_OPTIONS',
  // Node verifies a certificate after the handshake, and sends no alert.
  closed:
    'the agent closed a TLS connection before its first request; it may lack NODE_EXTRA_CA_CERTS for Node, else SSL_CERT_FILE',
  server_name: 'the agent named another host in its TLS handshake, or none; the connection was closed',
  unrouted: 'no route names this host, and forward_proxy.connect does not allow it; the connection was closed',
  timeout: 'the TLS handshake with the agent timed out; the connection was closed',
  excluded: 'the certificate of intercept.ca excludes this host; restart the pod to intercept it',
  protocol: 'the TLS handshake with the agent failed; it must offer TLS 1.2 and HTTP/1.1',
  internal: 'no certificate could be signed for this host; the connection was closed',
};

/** Descriptions of fatal alerts (RFC 8446 section 6.2). OpenSSL sends its own for the other causes. */
const ALERTS: Readonly<Partial<Record<HandshakeFailure, number>>> = {
  server_name: 112,
  unrouted: 112,
  excluded: 49,
  protocol: 50,
  internal: 80,
};

/** Counts and logs a failed handshake, and closes the connection. */
export type ReportFailure = (
  socket: Socket,
  host: string | undefined,
  cause: HandshakeFailure,
  error?: unknown,
) => void;

export function createReportFailure(
  observer: Pick<ProxyObserver, 'handshakeFailed'>,
  logger: Pick<Logger, 'warn' | 'error'>,
): ReportFailure {
  return (socket, host, cause, error) => {
    observer.handshakeFailed(cause);
    const fields = { authority: host, reason: cause, ...(error === undefined ? {} : { err: error }) };
    logger[cause === 'internal' ? 'error' : 'warn'](fields, MESSAGES[cause]);
    const alert = ALERTS[cause];
    if (alert === undefined || !socket.writable) socket.destroy();
    else socket.end(Buffer.from([0x15, 3, 3, 0, 2, 2, alert]), () => socket.destroy());
  };
}
