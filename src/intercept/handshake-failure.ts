import type { HandshakeFailure } from '../observability/proxy-observer.ts';

/** Alerts of an agent that verified the certificate and rejected it. OpenSSL names them differently from version to version. */
const REJECTED = /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)/;

/** The cause of an error during a handshake. @param error undefined where the agent left without one */
export function causeOf(error: (Error & { readonly code?: string }) | undefined): HandshakeFailure {
  const code = error?.code;
  if (code === undefined || code === 'ECONNRESET' || code === 'EPIPE') return 'closed';
  return REJECTED.test(code) ? 'untrusted' : 'protocol';
}

/** The variable by which a client finds the authority, by its `User-Agent`. The most specific comes first. */
const VARIABLES: readonly (readonly [client: RegExp, variable: string])[] = [
  [/^python-requests\b/, 'REQUESTS_CA_BUNDLE'],
  [/^(?:aws-|boto)/i, 'AWS_CA_BUNDLE'],
  [/^git\//, 'GIT_SSL_CAINFO'],
  [/^curl\//, 'CURL_CA_BUNDLE'],
  [/^Deno\//, 'DENO_CERT'],
  [/^(?:node|undici)\b/i, 'NODE_EXTRA_CA_CERTS'],
  [/^Java/, 'JAVA_TOOL_OPTIONS'],
  [/^(?:python|Go-http-client)\b/i, 'SSL_CERT_FILE'],
];

const ALL = 'SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or JAVA_TOOL_OPTIONS';
/** Node verifies a certificate after the handshake, and sends no alert. */
const WITHOUT_ALERT = 'NODE_EXTRA_CA_CERTS for Node, else SSL_CERT_FILE';

/** The message of the log for a failed handshake. It never contains the agent's own words. */
export function describeFailure(cause: HandshakeFailure, userAgent: string | undefined): string {
  const variable = VARIABLES.find(([client]) => userAgent !== undefined && client.test(userAgent))?.[1];
  switch (cause) {
    case 'untrusted':
      return `the agent rejected the certificate of this host; set ${variable ?? ALL}`;
    case 'closed':
      return `the agent closed a TLS connection before its first request; it may lack ${variable ?? WITHOUT_ALERT}`;
    case 'server_name':
      return 'the agent named another host in its TLS handshake, or none; the connection was closed';
    case 'timeout':
      return 'the TLS handshake with the agent timed out; the connection was closed';
    case 'excluded':
      return 'the certificate of intercept.ca excludes this host; restart the pod to intercept it';
    case 'protocol':
      return 'the TLS handshake with the agent failed; it must offer TLS 1.2 and HTTP/1.1';
    case 'internal':
      return 'no certificate could be signed for this host; the connection was closed';
  }
}
