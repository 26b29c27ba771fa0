import { once } from 'node:events';
import { isIP } from 'node:net';
import { connect, type PeerCertificate } from 'node:tls';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Route } from '../config/route.ts';
import { errorCode } from '../errors.ts';
import { endpointOf } from '../host-names.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';
import { type Finding, problem, shortAscii } from './finding.ts';

const TIMEOUT_MS = 3000;

/**
 * Reads a server's certificate, to explain why it is not trusted. Sends nothing over the connection and closes it at once.
 * Its fields are unverified.
 * @returns undefined if the server presents no certificate
 */
export async function readPeerCertificate(url: string): Promise<PeerCertificate | undefined> {
  const address = endpointOf(new URL(url));
  // The connection carries no data, and verification would hide the certificate.
  const socket = connect({
    ...address,
    servername: isIP(address.host) === 0 ? address.host : undefined,
    rejectUnauthorized: false,
  });
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const certificate = socket.getPeerCertificate();
    // Node returns an empty object for a missing certificate.
    return certificate.issuer === undefined ? undefined : certificate;
  } catch {
    return undefined;
  } finally {
    socket.on('error', () => {}).destroy();
  }
}

function nameIn({ CN, O, OU }: PeerCertificate['issuer']): string {
  const [first = '(unnamed)'] = [CN, O, OU].flat().filter((part) => part !== undefined);
  return first;
}

interface FailedConnection extends PeerSettings {
  readonly url: string;
  readonly error: unknown;
  readonly certificate?: PeerCertificate | undefined;
}

const UNTRUSTED: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'INVALID_CA',
]);

/** No connection was established. */
const UNREACHED: ReadonlySet<string> = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'EMFILE', 'ENFILE']);

const TIMEOUTS: ReadonlySet<string> = new Set(['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'TimeoutError', 'AbortError']);

/** Explains why a peer returned no response. Reads its certificate if that tells more than the error. */
export async function unreachable(failed: Omit<FailedConnection, 'certificate'>): Promise<Finding> {
  const { url, error } = failed;
  const certificate = concernsCertificate(url, error) ? await readPeerCertificate(url) : undefined;
  return connectionFinding({ ...failed, certificate });
}

/** Tells whether the peer's certificate can tell more than the error. A certificate at an http address shows that the port speaks TLS. */
export function concernsCertificate(url: string, error: unknown): boolean {
  const code = codeOf(error);
  if (new URL(url).protocol === 'http:') return !UNREACHED.has(code) && !TIMEOUTS.has(code);
  return UNTRUSTED.has(code) || code.startsWith('CERT_') || code === 'ERR_TLS_CERT_ALTNAME_INVALID';
}

/** Explains why a peer cannot be reached, by Node's error code. */
export function connectionFinding(failed: FailedConnection): Finding {
  const { url, error, paths, certificate, timeoutMs } = failed;
  const code = codeOf(error);
  const { host, hostname, protocol } = new URL(url);
  if (protocol === 'http:' && certificate !== undefined) return tlsRequired(url, paths);
  if (UNTRUSTED.has(code)) return untrusted(failed, host, code);
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return wrongName(failed, hostname);
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') return outsideValidity(failed, host, code);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return problem('host_unknown', `the name ${hostname} cannot be resolved (${code})`, {
      why: 'DNS has no address for it, or does not respond: it is down or slow, or a network policy blocks port 53',
      fix: `check the host of ${paths.address}, and the DNS of this machine or pod`,
    });
  }
  if (code === 'ECONNREFUSED') {
    return problem('connection_refused', `nothing listens at ${host}`, {
      fix: `check host and port of ${paths.address}, and whether the server runs`,
    });
  }
  if (code === 'EMFILE' || code === 'ENFILE') {
    return problem('connection_failed', `too many open files to connect to ${host} (${code})`, {
      fix: 'raise the limit of open files (ulimit -n), or lower limits.max_connections',
    });
  }
  if (TIMEOUTS.has(code)) {
    return problem('connection_timeout', `${host} did not respond within ${timeoutMs} ms`, {
      why: 'a firewall or network policy may drop the packets, or the server is slow',
      fix: `allow connections to ${host}${paths.timeout === undefined ? '' : `, or raise ${paths.timeout}`}`,
    });
  }
  if (/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA/i.test(code)) {
    return problem('client_certificate_required', `${host} aborted the TLS handshake (${code})`, {
      why: 'it may require a client certificate, or not trust the one that cambist presented',
      fix:
        paths.certificate === undefined
          ? 'configure the server to serve this address without client certificates: cambist presents none here'
          : `set ${paths.certificate}, each as { file: /path/to/it }, to a certificate that the server's CA signed`,
    });
  }
  if (protocol === 'https:' && /WRONG_VERSION|PACKET_LENGTH|HTTP_REQUEST|EPROTO/i.test(code)) {
    return problem('tls_failed', `${host} does not speak TLS (${code})`, {
      why: 'this port may serve plain http',
      fix: `set the https port in ${paths.address}, or write http:// if the server is on this machine or in the cluster`,
    });
  }
  return problem('connection_failed', `${host} cannot be reached, or closed the connection (${shortAscii(code)})`, {
    ...(protocol === 'https:' && { why: 'a server that requires a client certificate may close without an alert' }),
    fix: `check ${paths.address}, and the network in between`,
  });
}

/** The config uses http for a peer that presented a certificate. */
export function tlsRequired(url: string, { address }: ConfigPaths): Finding {
  return problem('tls_required', `${new URL(url).host} speaks TLS, but the config uses http`, {
    why: 'this port serves https: it closes plain http connections, or returns 400',
    fix: `write https:// in ${address}, or name the port that serves plain http`,
  });
}

function untrusted({ paths, ca, certificate }: FailedConnection, host: string, code: string): Finding {
  const by =
    certificate === undefined ? '' : `; its certificate is issued by "${shortAscii(nameIn(certificate.issuer))}"`;
  return problem('certificate_untrusted', `the certificate of ${host} is not trusted (${code})${by}`, {
    why:
      ca === undefined
        ? 'no CA known to this machine signed it: a private CA, or a chain without its intermediate certificate'
        : `no certificate in ${shortAscii(ca)} signed it; with tls.ca set, cambist trusts no other CA`,
    fix: `write the PEM of the CA that signed the server's certificate into a file, and set ${paths.ca} to { file: /path/to/it }`,
  });
}

function wrongName({ paths, certificate }: FailedConnection, hostname: string): Finding {
  const named = certificate && (certificate.subjectaltname ?? `CN=${nameIn(certificate.subject)}`);
  const names = named === undefined ? 'other names' : `"${shortAscii(named)}"`;
  return problem('certificate_wrong_name', `the certificate is not valid for ${hostname}, but for ${names}`, {
    why: 'the address uses a name that the certificate lacks, such as an in-cluster name or an IP address',
    fix: `use a name of the certificate in ${paths.address}, or add ${hostname} to the certificate`,
  });
}

function outsideValidity({ certificate }: FailedConnection, host: string, code: string): Finding {
  const expired = code === 'CERT_HAS_EXPIRED';
  const limit = expired ? certificate?.valid_to : certificate?.valid_from;
  const since = limit === undefined ? '' : ` ${expired ? 'on' : 'before'} ${shortAscii(limit)}`;
  return problem(
    expired ? 'certificate_expired' : 'certificate_not_yet_valid',
    `the certificate of ${host}, or one of its chain, ${expired ? 'expired' : 'is not valid'}${since}`,
    { fix: 'renew it on the server; if its dates are correct, correct the clock of this machine' },
  );
}

/** The code of an error or of its cause, or else its name. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const code = errorCode(error);
  if (code !== undefined) return code;
  return error.cause instanceof Error ? codeOf(error.cause) : error.name;
}

/** The places where the config sets how a peer is reached. */
export interface ConfigPaths {
  /** A path looks like `routes.github.upstream`. */
  readonly address: string;
  /** The config has no timeout for some peers. */
  readonly timeout?: string | undefined;
  readonly ca: string;
  /** Path of cambist's client certificate. Undefined if cambist presents none to this peer. */
  readonly certificate?: string | undefined;
}

export function serverPath(server: AuthorizationServer): string {
  return `authorization_servers.${server.name}`;
}

/** The settings by which cambist reaches a peer, and where the config has them. */
export interface PeerSettings {
  readonly paths: ConfigPaths;
  readonly ca: string | undefined;
  readonly timeoutMs: number;
}

export function settingsOfServer(server: AuthorizationServer): PeerSettings {
  const at = serverPath(server);
  const paths = { ...tlsPaths(at), address: `${at}.issuer or token_endpoint`, timeout: `${at}.timeout` };
  return { paths, ca: server.tls?.ca, timeoutMs: server.timeoutMs };
}

export function settingsOfUpstream(route: Route): PeerSettings {
  const at = `routes.${route.name}`;
  const { connectMs, tls } = upstreamPeer(route);
  const paths = { ...tlsPaths(at), address: `${at}.upstream`, timeout: `${at}.timeouts.connect` };
  return { paths, ca: tls?.ca, timeoutMs: connectMs };
}

function tlsPaths(at: string) {
  return { ca: `${at}.tls.ca`, certificate: `${at}.tls.certificate and private_key` };
}
