import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import {
  bitString,
  explicit,
  generalizedTime,
  implicit,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  truth,
  utf8String,
} from './der.ts';

/** PEM texts. */
export interface Certificate {
  cert: string;
  key: string;
}

export interface CertificateOptions {
  /** For a server: host names and addresses that it may be called by. */
  hosts?: readonly string[];
  commonName?: string;
  /** Seconds from now; both negative makes one that has expired. */
  validFromSeconds?: number;
  validUntilSeconds?: number;
  /** Of a key that is there already; the certificate then comes without one. */
  publicKey?: KeyObject;
}

export interface CertificateAuthority {
  /** PEM, for whoever is to trust it. */
  cert: string;
  /** For `localhost` and 127.0.0.1 unless told otherwise. */
  issueServer(options?: CertificateOptions): Certificate;
  issueClient(options?: CertificateOptions): Certificate;
}

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAlternativeName: '2.5.29.17',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};

const HOUR_SECONDS = 3600;

/** A certificate authority for one test: Node makes keys and signatures, but no certificates. */
export function createCertificateAuthority(commonName = 'cambist test CA'): CertificateAuthority {
  const keys = generateKeys();
  const authority = { name: commonName, key: keys.privateKey };
  const cert = issue(authority, keys.publicKey, { commonName }, [
    extension(OID.basicConstraints, sequence(truth()), 'critical'),
    // keyCertSign and cRLSign
    extension(OID.keyUsage, bitString(Buffer.from([0b00000110]), 1), 'critical'),
  ]);
  return {
    cert,
    issueServer: (options = {}) => {
      const { hosts = ['localhost', '127.0.0.1'] } = options;
      return issueWithKey(authority, { commonName: hosts[0] ?? 'server', ...options }, [
        extension(OID.extendedKeyUsage, sequence(objectIdentifier(OID.serverAuth))),
        extension(OID.subjectAlternativeName, sequence(...hosts.map(alternativeName))),
      ]);
    },
    issueClient: (options = {}) =>
      issueWithKey(authority, { commonName: 'client', ...options }, [
        extension(OID.extendedKeyUsage, sequence(objectIdentifier(OID.clientAuth))),
      ]),
  };
}

interface Issuer {
  name: string;
  key: KeyObject;
}

function generateKeys(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

function issueWithKey(issuer: Issuer, options: CertificateOptions, extensions: Buffer[]): Certificate {
  if (options.publicKey !== undefined) return { cert: issue(issuer, options.publicKey, options, extensions), key: '' };
  const keys = generateKeys();
  return {
    cert: issue(issuer, keys.publicKey, options, extensions),
    key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/** @see https://www.rfc-editor.org/rfc/rfc5280#section-4.1 */
function issue(issuer: Issuer, publicKey: KeyObject, options: CertificateOptions, extensions: Buffer[]): string {
  const { commonName = 'nobody', validFromSeconds = -HOUR_SECONDS, validUntilSeconds = HOUR_SECONDS } = options;
  const algorithm = sequence(objectIdentifier(OID.ecdsaWithSha256));
  const fromNow = (seconds: number) => generalizedTime(new Date(Date.now() + 1000 * seconds));
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([0x40]), randomBytes(15)])),
    algorithm,
    distinguishedName(issuer.name),
    sequence(fromNow(validFromSeconds), fromNow(validUntilSeconds)),
    distinguishedName(commonName),
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions)),
  );
  const certificate = sequence(body, algorithm, bitString(sign('sha256', body, issuer.key)));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function distinguishedName(commonName: string): Buffer {
  return sequence(set(sequence(objectIdentifier(OID.commonName), utf8String(commonName))));
}

function extension(id: string, value: Buffer, critical?: 'critical'): Buffer {
  return critical === undefined
    ? sequence(objectIdentifier(id), octetString(value))
    : sequence(objectIdentifier(id), truth(), octetString(value));
}

function alternativeName(host: string): Buffer {
  if (isIP(host) === 0) return implicit(2, Buffer.from(host, 'latin1'));
  return implicit(7, isIP(host) === 4 ? Buffer.from(host.split('.').map(Number)) : ipv6Bytes(host));
}

/** @param address without an IPv4 address at its end */
function ipv6Bytes(address: string): Buffer {
  const [start = [], end = []] = address.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = Array<string>(8 - start.length - end.length).fill('0');
  return Buffer.concat([...start, ...zeros, ...end].map((group) => Buffer.from(group.padStart(4, '0'), 'hex')));
}
