import { type Finding, printable, problem } from './finding.ts';

/** What a server's certificate says of itself; not verified, and only read where verification has failed. */
export interface PeerCertificate {
  /** Names and addresses that it is for, as in `DNS:idp.example.com`. */
  readonly names: string;
  readonly issuer: string;
  /** As in `Nov 25 03:00:00 2026 GMT`. */
  readonly validFrom: string;
  readonly validTo: string;
}

/** Where the config says how a peer is reached. */
export interface ConfigPaths {
  /** As in `routes.github.upstream`. */
  readonly address: string;
  /** Undefined: how long it may take is not set anywhere. */
  readonly timeout: string | undefined;
  /** Where a CA is named to trust. */
  readonly ca: string;
  /** Where our certificate is named; undefined: this peer is shown none. */
  readonly certificate: string | undefined;
}

export interface FailedConnection {
  readonly url: string;
  readonly error: unknown;
  readonly certificate: PeerCertificate | undefined;
  readonly places: ConfigPaths;
  /** The file of `tls.ca`. */
  readonly ca: string | undefined;
  readonly timeoutMs: number;
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

/** Nobody was spoken to. */
const UNREACHED: ReadonlySet<string> = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED']);

const TIMEOUTS: ReadonlySet<string> = new Set(['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'TimeoutError', 'AbortError']);

/** May a look at the certificate tell more than the error does? Of a peer that is called by http it tells that it speaks TLS. */
export function concernsCertificate(url: string, error: unknown): boolean {
  const code = codeOf(error);
  if (new URL(url).protocol === 'http:') return !UNREACHED.has(code) && !TIMEOUTS.has(code);
  return UNTRUSTED.has(code) || code.startsWith('CERT_') || code === 'ERR_TLS_CERT_ALTNAME_INVALID';
}

/** Why a peer cannot be reached, by the code that Node gives. Pure. */
export function connectionFinding(failed: FailedConnection): Finding {
  const { url, error, places, certificate, timeoutMs } = failed;
  const code = codeOf(error);
  const { host, hostname, protocol } = new URL(url);
  if (protocol === 'http:' && certificate !== undefined) return tlsWanted(url, places);
  if (UNTRUSTED.has(code)) return untrusted(failed, host, code);
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return wrongName(failed, hostname);
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') return outOfTime(failed, host, code);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return problem('host_unknown', `the name ${hostname} cannot be resolved (${code})`, {
      fix: `check the host of ${places.address}, and the DNS of this machine or pod`,
    });
  }
  if (code === 'ECONNREFUSED') {
    return problem('connection_refused', `nothing listens at ${host}`, {
      fix: `check host and port of ${places.address}, and whether the server runs`,
    });
  }
  if (TIMEOUTS.has(code)) {
    return problem('connection_timeout', `${host} did not answer within ${timeoutMs} ms`, {
      why: 'a firewall or network policy may drop the packets, or the server is slow',
      fix: `open the way to ${host}${places.timeout === undefined ? '' : `, or raise ${places.timeout}`}`,
    });
  }
  if (/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA/i.test(code)) {
    return problem('client_certificate_required', `${host} ended the TLS handshake (${code})`, {
      why: 'it may want a certificate of ours, or not trust the one it was shown',
      fix:
        places.certificate === undefined
          ? 'let it serve this address without: here it is shown none'
          : `set ${places.certificate} to one that the server's CA signed`,
    });
  }
  if (protocol === 'https:' && /WRONG_VERSION|PACKET_LENGTH|HTTP_REQUEST|EPROTO/i.test(code)) {
    return problem('tls_failed', `${host} does not speak TLS (${code})`, {
      why: 'this port may serve plain http',
      fix: `name the https port in ${places.address}, or write http:// where the server is on this machine or in the cluster`,
    });
  }
  return problem('connection_failed', `${host} cannot be reached, or broke the connection (${printable(code)})`, {
    ...(protocol === 'https:' && { why: 'a server that wants a certificate of ours may break off without a word' }),
    fix: `check ${places.address}, and what stands between here and there`,
  });
}

/** Of a peer that the config calls by http, and that showed a certificate. */
export function tlsWanted(url: string, { address }: ConfigPaths): Finding {
  return problem('tls_required', `${new URL(url).host} speaks TLS, and is called by http`, {
    why: 'this port serves https: it breaks off, or answers 400, where it is spoken to in plain http',
    fix: `write https:// in ${address}, or name the port that serves plain http`,
  });
}

function untrusted({ places, ca, certificate }: FailedConnection, host: string, code: string): Finding {
  const by = certificate === undefined ? '' : `; its certificate is issued by "${printable(certificate.issuer)}"`;
  return problem('certificate_untrusted', `the certificate of ${host} is not trusted (${code})${by}`, {
    why:
      ca === undefined
        ? 'no CA that this machine knows has signed it: a private CA, or a chain without its intermediate certificate'
        : `no certificate in ${printable(ca)} has signed it; with tls.ca set, no other CA is trusted`,
    fix: `write the PEM of the CA that signs the server's certificate into a file, and name it in ${places.ca}`,
  });
}

function wrongName({ places, certificate }: FailedConnection, hostname: string): Finding {
  const names = certificate === undefined ? 'other names' : `"${printable(certificate.names)}"`;
  return problem('certificate_wrong_name', `the certificate is not for ${hostname}, but for ${names}`, {
    why: 'the server is called by a name that its certificate lacks, as an in-cluster name or an address',
    fix: `call it in ${places.address} by a name of the certificate, or have ${hostname} added to the certificate`,
  });
}

function outOfTime({ certificate }: FailedConnection, host: string, code: string): Finding {
  const expired = code === 'CERT_HAS_EXPIRED';
  const limit = expired ? certificate?.validTo : certificate?.validFrom;
  const since = limit === undefined ? '' : ` ${expired ? 'on' : 'before'} ${printable(limit)}`;
  return problem(
    expired ? 'certificate_expired' : 'certificate_not_yet_valid',
    `the certificate of ${host}, or one that it hangs on, ${expired ? 'expired' : 'is not valid'}${since}`,
    { fix: 'renew it on the server; if its dates are right, the clock of this machine is not' },
  );
}

/** The code, or else the name, of an error or of the one that it was made of. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error.cause instanceof Error) return codeOf(error.cause);
  return error.name;
}
