import { bytesOf, EMPTY, readFields, textOf, writeBytes } from '../protobuf.ts';

/**
 * Reads the default identity, which is the first SVID, and the bundles of federated trust domains. Certificates are DER, concatenated,
 * and the leaf comes first. The private key is PKCS #8.
 * @throws {RangeError} if the message is malformed
 */
export function readX509SvidResponse(message: Buffer) {
  const response = readFields(message);
  const [first] = response.get(1) ?? [];
  const svid = first && readFields(first);
  return {
    svid: svid && {
      spiffeId: textOf(svid, 1),
      certificates: bytesOf(svid, 2),
      privateKey: bytesOf(svid, 3),
      bundle: bytesOf(svid, 4),
    },
    federatedBundles: (response.get(3) ?? [])
      .map((bytes) => readFields(bytes))
      .map((entry) => ({
        trustDomainId: textOf(entry, 1),
        bundle: bytesOf(entry, 2),
      })),
  };
}

/** @returns the first token, which is of the default identity @throws {RangeError} if the message is malformed */
export function readJwtSvidResponse(message: Buffer): { readonly spiffeId: string; readonly token: string } {
  const [first = EMPTY] = readFields(message).get(1) ?? [];
  const svid = readFields(first);
  return { spiffeId: textOf(svid, 1), token: textOf(svid, 2) };
}

/** @param spiffeId undefined for the default identity */
export function writeJwtSvidRequest(audience: string, spiffeId: string | undefined): Buffer {
  return Buffer.concat([writeBytes(1, audience), spiffeId === undefined ? EMPTY : writeBytes(2, spiffeId)]);
}
