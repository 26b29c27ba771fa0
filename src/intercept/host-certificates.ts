import { X509Certificate } from 'node:crypto';
import { createSecureContext, DEFAULT_CIPHERS, type SecureContext } from 'node:tls';
import { LRUCache } from 'lru-cache';
import { type CertificateAuthority, exportKey, generateKeys, issueCertificate } from '../transport/certificates.ts';

const HOUR_MS = 3_600_000;
const LIFETIME_MS = 24 * HOUR_MS;
/** Clocks differ a little. */
const BACKDATED_MS = HOUR_MS;
/** A connection that begins with a certificate may outlive it, but an agent must not get one that expires soon. */
const REUSED_MS = LIFETIME_MS / 2;
/** A wildcard permits any number of hosts. */
const MAX_HOSTS = 1000;
/** OpenSSL applies the constraints for names to a common name that could be one, so this one has spaces. */
const COMMON_NAME = 'intercepted by cambist';

/**
 * Preferred if Node offers it and the client supports it. OpenSSL's clients ask for AES-256 first, whose handshake hashes with
 * SHA-384. Most processors have no instructions for that, so a handshake takes up to 8 % more.
 */
const PREFERRED_CIPHER = 'TLS_AES_128_GCM_SHA256';
const CIPHERS = DEFAULT_CIPHERS.split(':')
  .toSorted((one, other) => Number(other === PREFERRED_CIPHER) - Number(one === PREFERRED_CIPHER))
  .join(':');

/** Certificates for hosts, made when they are first needed. */
export type HostCertificates = ReturnType<typeof createHostCertificates>;

interface Issued {
  readonly context: SecureContext;
  /** Epoch milliseconds. */
  readonly atMs: number;
}

/** One key serves all hosts, because only their names differ. Signing is synchronous, so a host gets one certificate at a time. */
export function createHostCertificates(authority: CertificateAuthority, nowMs = Date.now) {
  const { publicKey, privateKey } = generateKeys();
  const key = exportKey(privateKey);
  const chain = isRoot(authority.cert) ? '' : authority.cert;
  const issued = new LRUCache<string, Issued>({ max: MAX_HOSTS });

  return {
    /** @param host a name, or an address without brackets @throws {Error} where the key cannot sign */
    contextFor(host: string): SecureContext {
      const now = nowMs();
      const known = issued.get(host);
      // The wall clock decides, as at clients: the machine may have slept, or its clock may have been set.
      if (known !== undefined && now >= known.atMs - BACKDATED_MS && now < known.atMs + REUSED_MS) return known.context;
      const certificate = issueCertificate(authority, {
        commonName: COMMON_NAME,
        hosts: [host],
        purpose: 'server',
        publicKey,
        notBefore: new Date(now - BACKDATED_MS),
        notAfter: new Date(now - BACKDATED_MS + LIFETIME_MS),
      });
      const context = createSecureContext({
        key,
        cert: certificate + chain,
        minVersion: 'TLSv1.2',
        ciphers: CIPHERS,
        honorCipherOrder: true,
      });
      issued.set(host, { context, atMs: now });
      return context;
    },
  };
}

/** Agents have the root themselves. They need the chain of an intermediate authority. */
function isRoot(pem: string): boolean {
  const certificate = new X509Certificate(pem);
  return certificate.checkIssued(certificate);
}
