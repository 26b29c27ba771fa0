import type { X509Certificate } from 'node:crypto';

/** Equal identities have equal `id`, because the scheme and the trust domain have one spelling. */
export interface SpiffeId {
  /** As in `spiffe://example.org/ns/team-a/sa/billing`. */
  readonly id: string;
  readonly trustDomain: string;
  /** Begins with `/`. `''` stands for the trust domain itself. */
  readonly path: string;
}

/** SPIFFE ID section 2.3. */
const MAX_ID_LENGTH = 2048;
const MAX_TRUST_DOMAIN_LENGTH = 255;
/** A segment of dots alone has at least three. */
const ID = /^spiffe:\/\/([a-z0-9._-]+)((?:\/(?!\.{1,2}(?:\/|$))[a-zA-Z0-9._-]+)*)$/;

/**
 * Reads a SPIFFE ID. An identifier in upper case is invalid, although URIs ignore the case of their scheme and host.
 * @returns undefined for an invalid one
 * @see https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md section 2
 */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  if (text.length > MAX_ID_LENGTH) return undefined;
  const [, trustDomain, path] = ID.exec(text) ?? [];
  if (trustDomain === undefined || path === undefined || trustDomain.length > MAX_TRUST_DOMAIN_LENGTH) return undefined;
  return { id: text, trustDomain, path };
}

/**
 * The identity of a workload in its X.509-SVID, whose signature, dates and usage the caller verifies.
 * @returns undefined for a CA, with several URIs, or without the SPIFFE ID of a workload
 * @see https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md section 5.2
 */
export function spiffeIdOf(certificate: Pick<X509Certificate, 'ca' | 'subjectAltName'>): SpiffeId | undefined {
  if (certificate.ca) return undefined;
  // Node quotes a name that contains a comma and escapes the comma.
  const [uri, ...others] = (certificate.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  if (uri === undefined || others.length > 0) return undefined;
  const found = parseSpiffeId(uri.slice('URI:'.length));
  return found?.path === '' ? undefined : found;
}
