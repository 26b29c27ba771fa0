import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { CambistError } from '../errors.ts';
import { spiffeIdOf } from '../spiffe/spiffe-id.ts';

/** The issuers of client certificates, or those of SVIDs by their trust domains. */
export type Issuers = readonly X509Certificate[] | ReadonlyMap<string, readonly X509Certificate[]>;

/** The issuers that a listener trusts. A change of the file or of a bundle replaces them. */
export interface ClientTrust {
  issuers: Issuers;
}

/** The client of a connection, whose certificate was verified in the handshake. */
interface Client {
  /** Its own certificate, then those that it sent with it. */
  readonly chain: readonly X509Certificate[];
  readonly trust: ClientTrust;
  /** The issuers at the last verification. */
  issuers: Issuers;
  /** Epoch milliseconds of the first expiry between the certificate and its issuer. 0 if none of the issuers leads to it. */
  untilMs: number;
}

/** Length of the longest chain of certificates that is followed. */
const MAX_CHAIN = 10;

const clients = new WeakMap<Socket, Client>();

/**
 * Returns the certificate of the client of a connection. Each request asks, because the certificate may have expired since the
 * handshake, and its issuer may have been removed from the file. A change of the clock counts as well.
 * @returns undefined if the client has none
 * @throws {CambistError} ERR_AGENT_UNKNOWN
 */
export function clientCertificate(socket: Socket, nowMs: number): X509Certificate | undefined {
  const client = clients.get(socket);
  if (client === undefined) return undefined;
  const { chain, trust } = client;
  if (client.issuers !== trust.issuers) {
    // This comes first, because the next request would otherwise pass after an error.
    client.untilMs = validUntilMs(chain, trust.issuers);
    client.issuers = trust.issuers;
  }
  if (nowMs < client.untilMs) return chain[0];
  const why = client.untilMs === 0 ? 'is not trusted any more' : 'is expired';
  throw new CambistError('ERR_AGENT_UNKNOWN', `the client certificate of the connection ${why}`);
}

function validUntilMs(chain: readonly X509Certificate[], issuers: Issuers): number {
  const [own, ...others] = chain;
  const trusted = own === undefined ? [] : issuersOf(own, issuers);
  let untilMs = Infinity;
  let current = own;
  for (let left = MAX_CHAIN; current !== undefined && left > 0; left -= 1) {
    const certificate = current;
    const isIssuer = (each: X509Certificate): boolean =>
      each.ca && certificate.checkIssued(each) && certificate.verify(each.publicKey);
    untilMs = Math.min(untilMs, Date.parse(certificate.validTo));
    const issuer = trusted.find(isIssuer);
    if (issuer !== undefined) return Math.min(untilMs, Date.parse(issuer.validTo));
    current = others.find((each) => each !== certificate && isIssuer(each));
  }
  return 0;
}

/**
 * A trust domain vouches for its own identities alone, not for those of a trust domain that it is federated with.
 * @see https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md section 5.1
 */
function issuersOf(own: X509Certificate, issuers: Issuers): readonly X509Certificate[] {
  if ('find' in issuers) return issuers;
  return issuers.get(spiffeIdOf(own)?.trustDomain ?? '') ?? [];
}

/** The certificate of a client, and those that it sent with it. The last one may be its own issuer. */
function chainOf(certificate: X509Certificate): X509Certificate[] {
  const chain = [certificate];
  let next = certificate.issuerCertificate;
  while (next !== undefined && chain.length < MAX_CHAIN) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}

/**
 * Notes the client of a connection, after the handshake has verified its certificate.
 * @returns false if the trusted issuers do not lead to it
 */
export function setClient(socket: TLSSocket, trust: ClientTrust): boolean {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return true;
  const chain = chainOf(certificate);
  const untilMs = validUntilMs(chain, trust.issuers);
  clients.set(socket, { chain, trust, issuers: trust.issuers, untilMs });
  return untilMs > 0;
}

/** Copies the client of a connection to the object that stands for the connection. */
export function copyClient(from: Socket, to: Socket): void {
  const client = clients.get(from);
  if (client !== undefined) clients.set(to, client);
}
