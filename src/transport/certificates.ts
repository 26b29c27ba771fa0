import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import { nameConstraints } from './name-constraints.ts';

export interface Lifetime {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A certificate authority with its own key. It signs certificates of servers and clients, and no other authority. */
export interface CertificateAuthority {
  readonly commonName: string;
  /** PEM, for the trust store of a client. */
  readonly cert: string;
  readonly privateKey: KeyObject;
}

export interface CertificateRequest extends Lifetime {
  readonly commonName: string;
  /** Host names and addresses of a server; a client has none. */
  readonly hosts: readonly string[];
  readonly purpose: 'server' | 'client';
  readonly publicKey: KeyObject;
}

const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME = '2.5.4.3';

/** A P-256 key pair. */
export function generateKeys(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/**
 * Creates a certificate authority.
 * @param hosts the only hosts that its certificates may name, as a critical name constraint; a leading `*.` stands for all names
 * below. Without hosts there is no constraint.
 */
export function createAuthority(
  { commonName, hosts, ...lifetime }: Lifetime & { readonly commonName: string; readonly hosts?: readonly string[] },
  { publicKey, privateKey } = generateKeys(),
): CertificateAuthority {
  const extensions = [
    critical(id_ce_basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 })),
    critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)),
    ...(hosts === undefined ? [] : [critical(id_ce_nameConstraints, nameConstraints(hosts))]),
  ];
  const content = { subject: commonName, issuer: commonName, publicKey, ...lifetime };
  return { commonName, privateKey, cert: issue(content, privateKey, extensions) };
}

/** Issues a certificate, as PEM. */
export function issueCertificate(authority: CertificateAuthority, request: CertificateRequest): string {
  const { commonName, hosts, purpose, ...rest } = request;
  const names = new SubjectAlternativeName(hosts.map(generalName));
  const keyIdentifier = keyIdentifierOf(new X509Certificate(authority.cert).publicKey);
  const extensions = [
    critical(id_ce_basicConstraints, new BasicConstraints()),
    critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature)),
    extension(id_ce_extKeyUsage, new ExtendedKeyUsage([purpose === 'server' ? id_kp_serverAuth : id_kp_clientAuth])),
    ...(hosts.length === 0 ? [] : [extension(id_ce_subjectAltName, names)]),
    extension(id_ce_authorityKeyIdentifier, new AuthorityKeyIdentifier({ keyIdentifier })),
  ];
  return issue({ subject: commonName, issuer: authority.commonName, ...rest }, authority.privateKey, extensions);
}

/** A private key as PEM. */
export function exportKey(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

interface Content extends Lifetime {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
}

/** @see https://www.rfc-editor.org/rfc/rfc5280#section-4.1 */
function issue(content: Content, signer: KeyObject, extensions: Extension[]): string {
  const { subject, issuer, publicKey, notBefore, notAfter } = content;
  const algorithm = new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 });
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    // Positive, with more than the 64 random bits that authorities must use.
    serialNumber: bytes([0x40, ...randomBytes(15)]),
    signature: algorithm,
    issuer: distinguishedName(issuer),
    validity: new Validity({ notBefore, notAfter }),
    subject: distinguishedName(subject),
    subjectPublicKeyInfo: publicKeyInfo(publicKey),
    extensions: new Extensions([
      ...extensions,
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifierOf(publicKey))),
    ]),
  });
  const signature = sign('sha256', Buffer.from(AsnConvert.serialize(tbsCertificate)), signer);
  const certificate = new Certificate({
    tbsCertificate,
    signatureAlgorithm: algorithm,
    signatureValue: bytes(signature),
  });
  return new X509Certificate(Buffer.from(AsnConvert.serialize(certificate))).toString();
}

function generalName(host: string): GeneralName {
  return new GeneralName(isIP(host) === 0 ? { dNSName: host } : { iPAddress: host });
}

function distinguishedName(commonName: string): Name {
  const value = new AttributeValue({ utf8String: commonName });
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: COMMON_NAME, value })])]);
}

function publicKeyInfo(publicKey: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(publicKey.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo);
}

/** @see https://www.rfc-editor.org/rfc/rfc7093#section-2 */
function keyIdentifierOf(publicKey: KeyObject): KeyIdentifier {
  const { subjectPublicKey } = publicKeyInfo(publicKey);
  return new KeyIdentifier(createHash('sha256').update(Buffer.from(subjectPublicKey)).digest().subarray(0, 20));
}

function extension(extnID: string, value: object, isCritical = false): Extension {
  return new Extension({ extnID, critical: isCritical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

function critical(extnID: string, value: object): Extension {
  return extension(extnID, value, true);
}

function bytes(content: Iterable<number>): ArrayBuffer {
  return Uint8Array.from(content).buffer;
}
