import type { KeyObject } from 'node:crypto';
import { createAuthority, exportKey, generateKeys, issueCertificate } from '../../src/transport/certificates.ts';
import { writerInto } from './lifetime.ts';

/** In PEM format. */
export interface Certificate {
  cert: string;
  key: string;
}

export interface CertificateOptions {
  /** Host names and addresses of the server, or the SPIFFE ID of a workload. */
  hosts?: readonly string[];
  commonName?: string;
  /** Seconds from now; both negative for an expired certificate. */
  validFromSeconds?: number;
  validUntilSeconds?: number;
  /** The public part of an existing key. `key` of the certificate is then empty. */
  publicKey?: KeyObject;
}

export type CertificateAuthority = ReturnType<typeof createCertificateAuthority>;

const HOUR_SECONDS = 3600;

/** A certificate authority for one test. */
export function createCertificateAuthority(commonName = 'cambist test CA') {
  const authority = createAuthority({ commonName, ...lifetime({}) });
  const issue = (purpose: 'server' | 'client', hosts: readonly string[], options: CertificateOptions): Certificate => {
    const keys = options.publicKey === undefined ? generateKeys() : { publicKey: options.publicKey };
    const { commonName = hosts[0] ?? purpose } = options;
    const cert = issueCertificate(authority, {
      commonName,
      hosts,
      purpose,
      publicKey: keys.publicKey,
      ...lifetime(options),
    });
    return { cert, key: 'privateKey' in keys ? exportKey(keys.privateKey) : '' };
  };
  return {
    /** PEM, for the trust store of a client. */
    cert: authority.cert,
    /** The default hosts are `localhost` and 127.0.0.1. */
    issueServer: (options: CertificateOptions = {}) =>
      issue('server', options.hosts ?? ['localhost', '127.0.0.1'], options),
    issueClient: (options: CertificateOptions = {}) => issue('client', options.hosts ?? [], options),
  };
}

/** Writes the files of a listener that checks client certificates. @returns its `tls`; `own` is its certificate */
export function listenerTls(folder: string, authority: CertificateAuthority, own = authority.issueServer()) {
  const write = writerInto(folder);
  return {
    certificate: write('tls.crt', own.cert),
    private_key: write('tls.key', own.key),
    client_ca: write('clients.pem', authority.cert),
  };
}

function lifetime({ validFromSeconds = -HOUR_SECONDS, validUntilSeconds = HOUR_SECONDS }: CertificateOptions) {
  const fromNow = (seconds: number): Date => new Date(Date.now() + 1000 * seconds);
  return { notBefore: fromNow(validFromSeconds), notAfter: fromNow(validUntilSeconds) };
}
