import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { BlockList, isIP } from 'node:net';
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
  GeneralSubtree,
  GeneralSubtrees,
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
  NameConstraints,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';

/** Every DNS name: the empty suffix. */
const ALL_NAMES = { dNSName: '' };

const ALL_ADDRESSES = [{ iPAddress: '0.0.0.0/0' }, { iPAddress: '::/0' }];

/**
 * Permits these hosts and, by the rule of RFC 5280, all names below a permitted name. If no host is a name, or none is an
 * address, that kind is excluded: a constraint on names alone leaves addresses unconstrained.
 * @param hosts names, `*.` and a name for all names below it, and addresses
 * @see https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.10
 */
export function nameConstraints(hosts: readonly string[]): NameConstraints {
  const addresses = hosts.filter((host) => isIP(host) !== 0);
  const names = hosts.filter((host) => isIP(host) === 0);
  const permitted = [
    // A suffix that begins with a dot is that of the names below.
    ...names.map((name) => ({ dNSName: name.replace(/^\*(?=\.)/, '') })),
    ...addresses.map((address) => ({ iPAddress: `${address}/${isIP(address) === 4 ? 32 : 128}` })),
  ];
  const excluded = [...(names.length === 0 ? [ALL_NAMES] : []), ...(addresses.length === 0 ? ALL_ADDRESSES : [])];
  return new NameConstraints({
    ...(permitted.length === 0 ? {} : { permittedSubtrees: subtrees(permitted) }),
    ...(excluded.length === 0 ? {} : { excludedSubtrees: subtrees(excluded) }),
  });
}

/**
 * Returns whether constraints permit a host.
 * @param host a name, `*.` and a name for all names below it, or an address
 */
export function permitsHost({ permittedSubtrees, excludedSubtrees }: NameConstraints, host: string): boolean {
  const isName = isIP(host) === 0;
  const ofKind = (all: GeneralSubtrees | undefined): GeneralName[] =>
    [...(all ?? [])].map(({ base }) => base).filter(({ dNSName }) => (dNSName !== undefined) === isName);
  const contains = (base: GeneralName): boolean =>
    isName ? isBelow(host, base.dNSName ?? '') : isWithin(host, base.iPAddress ?? '');
  const permitted = ofKind(permittedSubtrees).filter(({ dNSName, iPAddress }) => (dNSName ?? iPAddress) !== undefined);
  return (permitted.length === 0 || permitted.some(contains)) && !ofKind(excludedSubtrees).some(contains);
}

/** @param host all names below `*.` are meant @param suffix of a constraint; empty for every name */
function isBelow(host: string, suffix: string): boolean {
  const name = host.replace(/^\*/, '');
  if (suffix === '' || name === suffix) return true;
  return name.endsWith(suffix.startsWith('.') ? suffix : `.${suffix}`);
}

/** @param range an address and its prefix length, or its mask */
function isWithin(address: string, range: string): boolean {
  const [network = '', prefix] = range.split('/');
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
  if (isIP(network) !== isIP(address) || !/^\d+$/.test(prefix ?? '')) return false;
  const list = new BlockList();
  list.addSubnet(network, Number(prefix), family);
  return list.check(address, family);
}

function subtrees(names: readonly Partial<GeneralName>[]): GeneralSubtrees {
  return new GeneralSubtrees(names.map((name) => new GeneralSubtree({ base: new GeneralName(name) })));
}

interface Lifetime {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A certificate authority with its own key. It signs certificates of servers and clients, and no other authority. */
export interface CertificateAuthority {
  /** PEM, for the trust store of a client. The chain of an intermediate authority follows its own certificate. */
  readonly cert: string;
  readonly privateKey: KeyObject;
}

interface CertificateRequest extends Lifetime {
  readonly commonName: string;
  /** Host names and addresses of a server; a client has none, or its SPIFFE ID. */
  readonly hosts: readonly string[];
  readonly purpose: 'server' | 'client';
  readonly publicKey: KeyObject;
}

const ECDSA_WITH_SHA256 = new AlgorithmIdentifier({ algorithm: '1.2.840.10045.4.3.2' });
/** Its parameters are NULL (RFC 4055 section 5). */
const RSA_WITH_SHA256 = new AlgorithmIdentifier({ algorithm: '1.2.840.113549.1.1.11', parameters: null });
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
  const name = distinguishedName(commonName);
  return { privateKey, cert: issue({ subject: name, issuer: name, publicKey, ...lifetime }, privateKey, extensions) };
}

/**
 * Opens an authority whose certificate and key another program made.
 * @param cert PEM, the authority's own certificate first
 * @throws {Error} with the reason why it cannot sign certificates of servers
 */
export function openAuthority(cert: string, key: string): CertificateAuthority {
  const certificate = parsed(() => new X509Certificate(cert), 'the certificate is not PEM');
  const privateKey = parsed(() => createPrivateKey(key), 'the private key is not PEM, or is encrypted');
  if (!certificate.ca) throw new Error('the certificate is not that of a certificate authority');
  if (!certificate.checkPrivateKey(privateKey)) throw new Error('the private key does not belong to the certificate');
  if (!['ec', 'rsa'].includes(privateKey.asymmetricKeyType ?? ''))
    throw new Error('the private key is neither EC nor RSA');
  return { cert, privateKey };
}

export function issueCertificate(authority: CertificateAuthority, request: CertificateRequest): string {
  const { commonName, hosts, purpose, ...rest } = request;
  const names = new SubjectAlternativeName(hosts.map(generalName));
  const { tbsCertificate: issuer } = parseCertificate(authority.cert);
  const keyIdentifier =
    extensionOf(issuer, id_ce_subjectKeyIdentifier, SubjectKeyIdentifier) ??
    keyIdentifierOf(new X509Certificate(authority.cert).publicKey);
  const extensions = [
    critical(id_ce_basicConstraints, new BasicConstraints()),
    critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature)),
    extension(id_ce_extKeyUsage, new ExtendedKeyUsage([purpose === 'server' ? id_kp_serverAuth : id_kp_clientAuth])),
    ...(hosts.length === 0 ? [] : [extension(id_ce_subjectAltName, names)]),
    extension(id_ce_authorityKeyIdentifier, new AuthorityKeyIdentifier({ keyIdentifier })),
  ];
  const subject = distinguishedName(commonName);
  return issue({ subject, issuer: issuer.subject, ...rest }, authority.privateKey, extensions);
}

/** The name constraints of a certificate. Undefined: it may name every host. @param cert PEM */
export function nameConstraintsOf(cert: string): NameConstraints | undefined {
  return extensionOf(parseCertificate(cert).tbsCertificate, id_ce_nameConstraints, NameConstraints);
}

export function exportKey(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

interface Content extends Lifetime {
  readonly subject: Name;
  readonly issuer: Name;
  readonly publicKey: KeyObject;
}

/** @see https://www.rfc-editor.org/rfc/rfc5280#section-4.1 */
function issue(content: Content, signer: KeyObject, extensions: Extension[]): string {
  const { subject, issuer, publicKey, notBefore, notAfter } = content;
  const algorithm = signer.asymmetricKeyType === 'rsa' ? RSA_WITH_SHA256 : ECDSA_WITH_SHA256;
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    // Positive, with more than the 64 random bits that authorities must use.
    serialNumber: bytes([0x40, ...randomBytes(15)]),
    signature: algorithm,
    issuer,
    validity: new Validity({ notBefore, notAfter }),
    subject,
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

function parseCertificate(pem: string): Certificate {
  return AsnConvert.parse(new X509Certificate(pem).raw, Certificate);
}

function extensionOf<Value>(
  { extensions = [] }: { readonly extensions?: readonly Extension[] },
  id: string,
  type: new () => Value,
): Value | undefined {
  const found = extensions.find(({ extnID }) => extnID === id);
  return found === undefined ? undefined : AsnConvert.parse(found.extnValue, type);
}

function parsed<Value>(parse: () => Value, problem: string): Value {
  try {
    return parse();
  } catch (cause) {
    throw new Error(problem, { cause });
  }
}

function generalName(host: string): GeneralName {
  if (host.startsWith('spiffe://')) return new GeneralName({ uniformResourceIdentifier: host });
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
