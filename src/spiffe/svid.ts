import { createPrivateKey, X509Certificate } from 'node:crypto';
import { decodeJwt } from 'jose';
import { bytesOf, type Fields, readFields, textOf } from '../protobuf.ts';
import { Secret } from '../secrets/secret.ts';
import { parseSpiffeId, type SpiffeId, spiffeIdOf } from './spiffe-id.ts';

/** cambist's own certificate. */
export interface X509Svid {
  readonly spiffeId: SpiffeId;
  /** PEM: the leaf first, then intermediate certificates. */
  readonly certificate: string;
  /** PEM, PKCS #8. */
  readonly privateKey: Secret;
  readonly expiresAtMs: number;
}

/** The PEM certificates of the authorities that each trust domain has, by its name. An SVID is verified by those of its own trust domain alone. */
export type TrustBundles = ReadonlyMap<string, readonly string[]>;

export interface X509Update {
  readonly svid: X509Svid;
  readonly bundles: TrustBundles;
  /** SPIFFE IDs of trust domains whose bundle is invalid. Their SVIDs are refused. */
  readonly refused: readonly string[];
}

export interface JwtSvid {
  readonly token: Secret;
  readonly expiresAtMs: number;
}

const MAX_CHAIN = 10;
const MAX_AUTHORITIES = 100;
/** Far above any real bundle, and all of them are read at once. */
const MAX_TRUST_DOMAINS = 1000;
const MAX_JWT_LENGTH = 16 * 1024;
/** RFC 7515 section 7.1, with a signature. */
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** The header of a DER sequence of 256 to 65,535 bytes, as every certificate is: the tag, and a length of two bytes. */
const SEQUENCE = 0x3082;
const HEADER_LENGTH = 4;

/** An update that the agent must not have sent. The message quotes nothing of it. */
export class InvalidSvid extends Error {
  override readonly name = 'InvalidSvid';
}

/**
 * Reads the default SVID of an `X509SVIDResponse`, which is the first one, and all bundles.
 * @throws {InvalidSvid} unless the SVID and the bundle of its trust domain are valid
 */
export function readX509Update(message: Buffer, nowMs: number): X509Update {
  const response = attempt('the response is malformed', () => readFields(message));
  const [first] = messagesIn(response, 1);
  const federated = messagesIn(response, 3);
  if (first === undefined) throw new InvalidSvid('the response has no SVID');
  if (federated.length > MAX_TRUST_DOMAINS) {
    throw new InvalidSvid(`the response has bundles of more than ${MAX_TRUST_DOMAINS} trust domains`);
  }
  const svid = readX509Svid(bytesOf(first, 2), bytesOf(first, 3), nowMs);
  if (svid.spiffeId.id !== textOf(first, 1))
    throw new InvalidSvid('the certificate has another SPIFFE ID than the response');
  const bundles = new Map<string, readonly string[]>();
  const refused: string[] = [];
  for (const entry of federated) {
    const id = parseSpiffeId(textOf(entry, 1));
    if (id?.path !== '') throw new InvalidSvid('the response names an invalid trust domain');
    const authorities = readAuthorities(bytesOf(entry, 2));
    if (authorities === undefined) refused.push(id.id);
    else bundles.set(id.trustDomain, authorities);
  }
  const own = readAuthorities(bytesOf(first, 4));
  if (own === undefined) throw new InvalidSvid('the bundle of the own trust domain is invalid or empty');
  // After the others, so that none of them takes its place.
  bundles.set(svid.spiffeId.trustDomain, own);
  return { svid, bundles, refused };
}

function messagesIn(fields: Fields, number: number): Fields[] {
  return (fields.get(number) ?? []).map((bytes) => attempt('the response is malformed', () => readFields(bytes)));
}

/** @param der concatenated certificates, the leaf first */
function readX509Svid(der: Buffer, pkcs8: Buffer, nowMs: number): X509Svid {
  const chain = attempt('the certificate is malformed', () => readCertificates(der, MAX_CHAIN));
  const [leaf] = chain;
  const spiffeId = leaf && spiffeIdOf(leaf);
  if (leaf === undefined || spiffeId === undefined)
    throw new InvalidSvid('the certificate has no SPIFFE ID of a workload');
  const key = attempt('the private key is malformed', () =>
    createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }),
  );
  if (!leaf.checkPrivateKey(key)) throw new InvalidSvid('the private key does not belong to the certificate');
  const expiresAtMs = Date.parse(leaf.validTo);
  if (!(nowMs >= Date.parse(leaf.validFrom))) throw new InvalidSvid('the certificate is not valid yet');
  if (!(nowMs < expiresAtMs)) throw new InvalidSvid('the certificate is expired');
  const privateKey = new Secret(key.export({ format: 'pem', type: 'pkcs8' }).toString());
  return { spiffeId, certificate: chain.join(''), privateKey, expiresAtMs };
}

/** @returns undefined if the bundle is empty, or a certificate in it is invalid */
function readAuthorities(der: Buffer): string[] | undefined {
  try {
    const authorities = readCertificates(der, MAX_AUTHORITIES);
    return authorities.length > 0 && authorities.every(({ ca }) => ca) ? authorities.map(String) : undefined;
  } catch {
    return undefined;
  }
}

/** Reads concatenated certificates. @throws {Error} if one of them is malformed */
function readCertificates(der: Buffer, most: number): X509Certificate[] {
  const found: X509Certificate[] = [];
  for (let rest = der; rest.length > 0; ) {
    if (found.length === most || rest.readUInt16BE(0) !== SEQUENCE) throw new RangeError('not a list of certificates');
    const one = rest.subarray(0, HEADER_LENGTH + rest.readUInt16BE(2));
    const certificate = new X509Certificate(one);
    // Node would find a PEM certificate inside of other bytes.
    if (!certificate.raw.equals(one)) throw new RangeError('not a certificate');
    found.push(certificate);
    rest = rest.subarray(one.length);
  }
  return found;
}

/**
 * Reads the first JWT-SVID of a `JWTSVIDResponse`, which is of the default identity. Its signature is for the servers that receive it.
 * @throws {InvalidSvid} if it is for another audience or identity, expired, or malformed
 */
export function readJwtSvid(message: Buffer, audience: string, nowMs: number): JwtSvid {
  const [svid = new Map()] = messagesIn(
    attempt('the response is malformed', () => readFields(message)),
    1,
  );
  const [spiffeId, token] = [textOf(svid, 1), textOf(svid, 2)];
  if (token === '') throw new InvalidSvid('the response has no SVID');
  if (token.length > MAX_JWT_LENGTH || !JWT.test(token)) throw new InvalidSvid('the token is malformed or too long');
  const { sub, aud, exp } = attempt('the token is malformed', () => decodeJwt(token));
  if (sub !== spiffeId || parseSpiffeId(spiffeId) === undefined) throw new InvalidSvid('the token has no SPIFFE ID');
  if (![aud].flat().includes(audience)) throw new InvalidSvid('the token is for another audience');
  if (typeof exp !== 'number' || !(1000 * exp > nowMs)) throw new InvalidSvid('the token is expired');
  return { token: new Secret(token), expiresAtMs: 1000 * exp };
}

function attempt<Result>(problem: string, read: () => Result): Result {
  try {
    return read();
  } catch {
    throw new InvalidSvid(problem);
  }
}
