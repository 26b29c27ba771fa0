import { createHash } from 'node:crypto';
import { BmpString, Constructed, Integer, ObjectIdentifier, OctetString, Sequence, Set as SetOf } from 'asn1js';

const DATA = '1.2.840.113549.1.7.1';
const CERT_BAG = '1.2.840.113549.1.12.10.1.3';
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1';
const FRIENDLY_NAME = '1.2.840.113549.1.9.20';
/** Without this attribute Java takes no certificate of a PKCS#12 file for a trust anchor. */
const ORACLE_TRUSTED_KEY_USAGE = '2.16.840.1.113894.746875.1.1';
const ANY_EXTENDED_KEY_USAGE = '2.5.29.37.0';

type Value = Sequence | OctetString | ObjectIdentifier | BmpString;

/**
 * Encodes certificates as a trust store of Java: PKCS#12 without encryption and MAC, because it contains nothing secret.
 * @param certificates each in PEM
 * @see RFC 7292 section 4
 */
export function encodeTruststore(certificates: readonly string[]): Buffer {
  const bags = new Sequence({ value: certificates.map(trustedBag) });
  const authenticatedSafe = new Sequence({ value: [dataOf(bags)] });
  const pfx = new Sequence({ value: [new Integer({ value: 3 }), dataOf(authenticatedSafe)] });
  return Buffer.from(pfx.toBER());
}

function trustedBag(pem: string): Sequence {
  const raw = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
  // Java finds entries by this name, so each needs its own.
  const alias = createHash('sha256').update(raw).digest('hex').slice(0, 32);
  const octets = new OctetString({ valueHex: raw });
  const bag = new Sequence({ value: [new ObjectIdentifier({ value: X509_CERTIFICATE }), explicit(octets)] });
  const attributes = [
    attribute(FRIENDLY_NAME, new BmpString({ value: alias })),
    attribute(ORACLE_TRUSTED_KEY_USAGE, new ObjectIdentifier({ value: ANY_EXTENDED_KEY_USAGE })),
  ];
  return new Sequence({
    value: [new ObjectIdentifier({ value: CERT_BAG }), explicit(bag), new SetOf({ value: attributes })],
  });
}

function attribute(id: string, value: Value): Sequence {
  return new Sequence({ value: [new ObjectIdentifier({ value: id }), new SetOf({ value: [value] })] });
}

/** A ContentInfo with data that is not encrypted. */
function dataOf(content: Sequence): Sequence {
  const data = new OctetString({ valueHex: content.toBER() });
  return new Sequence({ value: [new ObjectIdentifier({ value: DATA }), explicit(data)] });
}

/** The tag `[0] EXPLICIT`. */
function explicit(value: Value): Constructed {
  return new Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [value] });
}
