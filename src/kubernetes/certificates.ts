import { createHash, randomBytes, webcrypto } from 'node:crypto';
import * as asn1js from 'asn1js';
import {
  AltName,
  AttributeTypeAndValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  Extension,
  ExtKeyUsage,
  GeneralName,
} from 'pkijs';

/** What a webhook needs to be called by the API server; all PEM. */
export interface WebhookCertificates {
  /** For `caBundle`. Its key is thrown away: nothing else will ever be signed with it. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const OID = {
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

/** Bits of the key usage (RFC 5280 section 4.2.1.3), as bytes and the bits of them that are not used. */
const KEY_CERT_SIGN = { bytes: 0b0000_0100, unused: 2 };
const DIGITAL_SIGNATURE = { bytes: 0b1000_0000, unused: 7 };

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };

/** Clocks that differ a little. */
const BACKDATED_MS = 5 * 60 * 1000;

const DAY_MS = 24 * 60 * 60 * 1000;

type KeyPair = webcrypto.CryptoKeyPair;

/** Makes a certificate authority and one certificate of it for a server. */
export async function createWebhookCertificates(hosts: readonly string[], days: number): Promise<WebhookCertificates> {
  const authority = await generateKeys();
  const server = await generateKeys();
  // A name of its own, so that an old and a new one in the same bundle are told apart.
  const authorityName = `cambist webhook CA ${randomBytes(4).toString('hex')}`;
  const authorityKeyId = await keyId(authority);
  const about = { issuer: authorityName, signer: authority, days };
  const ca = await issue({ ...about, subject: authorityName, keys: authority }, [
    critical(OID.basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 }).toSchema()),
    critical(OID.keyUsage, usage(KEY_CERT_SIGN)),
    extension(OID.subjectKeyIdentifier, new asn1js.OctetString({ valueHex: authorityKeyId })),
  ]);
  const names = hosts.map((value) => new GeneralName({ type: 2, value }));
  const keyIdentifier = new asn1js.OctetString({ valueHex: authorityKeyId });
  const cert = await issue({ ...about, subject: hosts[0] ?? '', keys: server }, [
    critical(OID.basicConstraints, new BasicConstraints({ cA: false }).toSchema()),
    critical(OID.keyUsage, usage(DIGITAL_SIGNATURE)),
    extension(OID.extendedKeyUsage, new ExtKeyUsage({ keyPurposes: [OID.serverAuth] }).toSchema()),
    extension(OID.subjectAlternativeName, new AltName({ altNames: names }).toSchema()),
    extension(OID.authorityKeyIdentifier, new AuthorityKeyIdentifier({ keyIdentifier }).toSchema()),
  ]);
  const key = await webcrypto.subtle.exportKey('pkcs8', server.privateKey);
  return { ca: pem('CERTIFICATE', ca), cert: pem('CERTIFICATE', cert), key: pem('PRIVATE KEY', key) };
}

interface CertificateContent {
  readonly issuer: string;
  readonly signer: KeyPair;
  readonly subject: string;
  readonly keys: KeyPair;
  readonly days: number;
}

async function issue(content: CertificateContent, extensions: Extension[]): Promise<ArrayBuffer> {
  const certificate = new Certificate();
  certificate.version = 2;
  // Positive, and with more than the 64 random bits that are asked of authorities.
  certificate.serialNumber = new asn1js.Integer({ valueHex: asBuffer([0x40, ...randomBytes(15)]) });
  certificate.issuer.typesAndValues.push(commonName(content.issuer));
  certificate.subject.typesAndValues.push(commonName(content.subject));
  certificate.notBefore.value = new Date(Date.now() - BACKDATED_MS);
  certificate.notAfter.value = new Date(Date.now() + content.days * DAY_MS);
  await certificate.subjectPublicKeyInfo.importKey(content.keys.publicKey);
  certificate.extensions = extensions;
  await certificate.sign(content.signer.privateKey, 'SHA-256');
  return certificate.toSchema(true).toBER(false);
}

function generateKeys(): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

/** @see https://www.rfc-editor.org/rfc/rfc7093#section-2 */
async function keyId({ publicKey }: KeyPair): Promise<ArrayBuffer> {
  const point = await webcrypto.subtle.exportKey('raw', publicKey);
  return asBuffer(createHash('sha256').update(new Uint8Array(point)).digest().subarray(0, 20));
}

function commonName(value: string): AttributeTypeAndValue {
  return new AttributeTypeAndValue({ type: OID.commonName, value: new asn1js.Utf8String({ value }) });
}

function usage({ bytes, unused }: { bytes: number; unused: number }): asn1js.BitString {
  return new asn1js.BitString({ valueHex: asBuffer([bytes]), unusedBits: unused });
}

function extension(extnID: string, value: asn1js.BaseBlock, isCritical = false): Extension {
  return new Extension({ extnID, critical: isCritical, extnValue: value.toBER(false) });
}

function critical(extnID: string, value: asn1js.BaseBlock): Extension {
  return extension(extnID, value, true);
}

function asBuffer(bytes: Iterable<number>): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
