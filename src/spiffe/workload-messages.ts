/** Far above any real message. Small fields would otherwise take many times the memory of the message. */
const MAX_FIELDS = 10_000;
const EMPTY = Buffer.alloc(0);
/** The type of texts, bytes and messages, which is every field that is read. Of the others, the length is enough. */
const WITH_LENGTH = 2;
const VARINT = 0;
const FIXED_LENGTHS: Readonly<Record<number, number>> = { 1: 8, 5: 4 };

type Fields = ReadonlyMap<number, readonly Buffer[]>;

/**
 * Reads a message in the encoding of Protocol Buffers.
 * @throws {RangeError} if it is malformed
 * @see https://protobuf.dev/programming-guides/encoding/
 */
function readFields(message: Buffer): Fields {
  const found = new Map<number, Buffer[]>();
  let position = 0;
  const bytes = (length: number): Buffer => {
    if (length > message.length - position) throw new RangeError('truncated message');
    position += length;
    return message.subarray(position - length, position);
  };
  const varint = (): number => {
    let value = 0;
    for (let power = 1; power < 2 ** 70; power *= 128) {
      const byte = bytes(1).readUInt8();
      value += (byte % 128) * power;
      if (byte < 128) return value;
    }
    throw new RangeError('malformed number');
  };
  for (let count = 0; position < message.length; count++) {
    if (count === MAX_FIELDS) throw new RangeError('too many fields');
    const tag = varint();
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (type === WITH_LENGTH) {
      const value = bytes(varint());
      const known = found.get(number);
      if (known === undefined) found.set(number, [value]);
      else known.push(value);
    } else if (type === VARINT) varint();
    else bytes(FIXED_LENGTHS[type] ?? Number.POSITIVE_INFINITY);
  }
  return found;
}

/** The last value counts where a field repeats. */
function bytesOf(fields: Fields, number: number): Buffer {
  return fields.get(number)?.at(-1) ?? EMPTY;
}

/** SPIFFE IDs and JWTs are ASCII. Other bytes become letters that both refuse. */
function textOf(fields: Fields, number: number): string {
  return bytesOf(fields, number).toString('latin1');
}

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
    federatedBundles: (response.get(3) ?? []).map(readFields).map((entry) => ({
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
  return Buffer.concat([writeText(1, audience), spiffeId === undefined ? EMPTY : writeText(2, spiffeId)]);
}

function writeText(number: number, text: string): Buffer {
  const value = Buffer.from(text);
  const start = [8 * number + WITH_LENGTH];
  let rest = value.length;
  for (; rest >= 128; rest = Math.floor(rest / 128)) start.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([...start, rest]), value]);
}
