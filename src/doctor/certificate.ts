import { isIP } from 'node:net';
import { connect, type PeerCertificate as NodeCertificate } from 'node:tls';
import { withoutBrackets } from '../config/brackets.ts';

const TIMEOUT_MS = 3000;

/** Fields of a server's certificate. They are unverified: the certificate is read after its verification failed. */
export interface PeerCertificate {
  /** Names and addresses that it is valid for, as in `DNS:idp.example.com`. */
  readonly names: string;
  readonly issuer: string;
  /** As in `Nov 25 03:00:00 2026 GMT`. */
  readonly validFrom: string;
  readonly validTo: string;
}

/**
 * Reads a server's certificate, to explain why it is not trusted. Sends nothing over the connection and closes it at once.
 * @returns undefined if the server presents no certificate
 */
export function readPeerCertificate(url: string): Promise<PeerCertificate | undefined> {
  const { hostname, port, protocol } = new URL(url);
  const host = withoutBrackets(hostname);
  return new Promise((resolve) => {
    // The connection carries no data, and verification would hide the certificate.
    const options = {
      host,
      port: Number(port || (protocol === 'http:' ? 80 : 443)),
      rejectUnauthorized: false,
      timeout: TIMEOUT_MS,
    };
    const socket = connect(isIP(host) === 0 ? { ...options, servername: host } : options);
    const finish = (certificate: PeerCertificate | undefined) => {
      socket.destroy();
      resolve(certificate);
    };
    socket.once('secureConnect', () => finish(describe(socket.getPeerCertificate())));
    socket.once('timeout', () => finish(undefined));
    socket.once('error', () => finish(undefined));
    socket.once('close', () => finish(undefined));
  });
}

function describe(certificate: NodeCertificate): PeerCertificate | undefined {
  const { subject, issuer, subjectaltname, valid_from: validFrom, valid_to: validTo } = certificate;
  // Node returns an empty object if there is no certificate.
  if (issuer === undefined) return undefined;
  return {
    names: subjectaltname ?? `CN=${nameIn(subject)}`,
    issuer: nameIn(issuer),
    validFrom,
    validTo,
  };
}

function nameIn(name: NodeCertificate['issuer']): string {
  const [first = '(unnamed)'] = [name.CN, name.O, name.OU].flat().filter((part) => part !== undefined);
  return first;
}
