import { isIP } from 'node:net';
import { connect, type PeerCertificate as NodeCertificate } from 'node:tls';
import type { PeerCertificate } from './connection.ts';

const TIMEOUT_MS = 3000;

/**
 * Reads what a server's certificate says of itself, for a sentence about why it is not trusted. Nothing is sent over the
 * connection, which is closed at once. @returns undefined where there is none to read
 */
export function readPeerCertificate(url: string): Promise<PeerCertificate | undefined> {
  const { hostname, port, protocol } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve) => {
    // Verification has failed already, or nobody asked for any: here it would only hide why.
    const options = {
      host,
      port: Number(port || (protocol === 'http:' ? 80 : 443)),
      rejectUnauthorized: false,
      timeout: TIMEOUT_MS,
    };
    const socket = connect(isIP(host) === 0 ? { ...options, servername: host } : options);
    const end = (certificate: PeerCertificate | undefined) => {
      socket.destroy();
      resolve(certificate);
    };
    socket.once('secureConnect', () => end(describe(socket.getPeerCertificate())));
    socket.once('timeout', () => end(undefined));
    socket.once('error', () => end(undefined));
    socket.once('close', () => end(undefined));
  });
}

function describe(certificate: NodeCertificate): PeerCertificate | undefined {
  const { subject, issuer, subjectaltname, valid_from: validFrom, valid_to: validTo } = certificate;
  // An empty object stands for none.
  if (issuer === undefined) return undefined;
  return {
    names: subjectaltname ?? `CN=${nameIn(subject)}`,
    issuer: nameIn(issuer),
    validFrom,
    validTo,
  };
}

function nameIn(name: NodeCertificate['issuer']): string {
  const [first = 'nobody'] = [name.CN, name.O, name.OU].flat().filter((part) => part !== undefined);
  return first;
}
