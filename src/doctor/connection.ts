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

export interface FailedConnection {
  readonly url: string;
  readonly error: unknown;
  readonly certificate: PeerCertificate | undefined;
  /** Where the server stands in the config, as in `authorization_servers.keycloak`. */
  readonly place: string;
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

const TIMEOUTS: ReadonlySet<string> = new Set(['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'TimeoutError', 'AbortError']);

/** Errors whose cure needs a look at the certificate. */
export function concernsCertificate(error: unknown): boolean {
  const code = codeOf(error);
  return UNTRUSTED.has(code) || code.startsWith('CERT_') || code === 'ERR_TLS_CERT_ALTNAME_INVALID';
}

/** Why a server cannot be reached, by the code that Node gives. Pure. */
export function connectionFinding(failed: FailedConnection): Finding {
  const { url, error, place, timeoutMs } = failed;
  const code = codeOf(error);
  const { host, hostname, protocol } = new URL(url);
  if (UNTRUSTED.has(code)) return untrusted(failed, host, code);
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return wrongName(failed, hostname);
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') return outOfTime(failed, host, code);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return problem('host_unknown', `the name ${hostname} cannot be resolved (${code})`, {
      mend: `check the host of ${place}.issuer or token_endpoint, and the DNS of this machine or pod`,
    });
  }
  if (code === 'ECONNREFUSED') {
    return problem('connection_refused', `nothing listens at ${host}`, {
      mend: `check host and port of ${place}, and whether the server runs`,
    });
  }
  if (TIMEOUTS.has(code)) {
    return problem('connection_timeout', `${host} did not answer within ${timeoutMs} ms`, {
      why: 'a firewall or network policy may drop the packets, or the server is slow',
      mend: `open the way to ${host}, or raise ${place}.timeout`,
    });
  }
  if (/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA/i.test(code)) {
    return problem('client_certificate_wanted', `${host} ended the TLS handshake (${code})`, {
      why: 'it may want a certificate of ours, or not trust the one it was shown',
      mend: `set ${place}.tls.certificate and tls.private_key to one that the server's CA signed`,
    });
  }
  if (protocol === 'https:' && /WRONG_VERSION|PACKET_LENGTH|HTTP_REQUEST|EPROTO/i.test(code)) {
    return problem('tls_failed', `${host} does not speak TLS (${code})`, {
      why: 'this port may serve plain http',
      mend: `name the https port in ${place}, or write http:// where the server is on this machine or in the cluster`,
    });
  }
  return problem('connection_failed', `${host} cannot be reached, or broke the connection (${printable(code)})`, {
    mend: `check the address in ${place}, and what stands between here and there`,
  });
}

function untrusted({ place, ca, certificate }: FailedConnection, host: string, code: string): Finding {
  const by = certificate === undefined ? '' : `; its certificate is issued by "${printable(certificate.issuer)}"`;
  return problem('certificate_untrusted', `the certificate of ${host} is not trusted (${code})${by}`, {
    why:
      ca === undefined
        ? 'no CA that this machine knows has signed it: a private CA, or a chain without its intermediate certificate'
        : `no certificate in ${printable(ca)} has signed it; with tls.ca set, no other CA is trusted`,
    mend: `write the PEM of the CA that signs the server's certificate into a file, and name it in ${place}.tls.ca`,
  });
}

function wrongName({ place, certificate }: FailedConnection, hostname: string): Finding {
  const names = certificate === undefined ? 'other names' : `"${printable(certificate.names)}"`;
  return problem('certificate_wrong_name', `the certificate is not for ${hostname}, but for ${names}`, {
    why: 'the server is called by a name that its certificate lacks, as an in-cluster name or an address',
    mend: `call it in ${place} by a name of the certificate, or have ${hostname} added to the certificate`,
  });
}

function outOfTime({ certificate }: FailedConnection, host: string, code: string): Finding {
  const expired = code === 'CERT_HAS_EXPIRED';
  const limit = expired ? certificate?.validTo : certificate?.validFrom;
  const since = limit === undefined ? '' : ` ${expired ? 'on' : 'before'} ${printable(limit)}`;
  return problem(
    expired ? 'certificate_expired' : 'certificate_not_yet_valid',
    `the certificate of ${host}, or one that it hangs on, ${expired ? 'expired' : 'is not valid'}${since}`,
    { mend: 'renew it on the server; if its dates are right, the clock of this machine is not' },
  );
}

/** The code, or else the name, of an error or of the one that it was made of. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error.cause instanceof Error) return codeOf(error.cause);
  return error.name;
}
