/** Far above any real message. Small fields would otherwise take many times the memory of the message. */
const MAX_FIELDS = 10_000;
export const EMPTY = Buffer.alloc(0);
/** The type of texts, bytes and messages. */
const WITH_LENGTH = 2;
const VARINT = 0;
const FIXED_LENGTHS: Readonly<Record<number, number>> = { 1: 8, 5: 4 };

export type Fields = ReadonlyMap<number, readonly Buffer[]>;

/**
 * Reads a message in the encoding of Protocol Buffers.
 * @param numbers gets the values of numbers and flags, by their fields
 * @throws {RangeError} if it is malformed
 * @see https://protobuf.dev/programming-guides/encoding/
 */
export function readFields(message: Buffer, numbers?: Map<number, number>): Fields {
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
    } else if (type === VARINT) {
      const value = varint();
      numbers?.set(number, value);
    } else bytes(FIXED_LENGTHS[type] ?? Number.POSITIVE_INFINITY);
  }
  return found;
}

/** The last value counts where a field repeats. */
export function bytesOf(fields: Fields, number: number): Buffer {
  return fields.get(number)?.at(-1) ?? EMPTY;
}

/** Reads bytes as Node reads those of headers. SPIFFE IDs and JWTs are ASCII, so that other bytes become letters that both refuse. */
export function textOf(fields: Fields, number: number): string {
  return bytesOf(fields, number).toString('latin1');
}

/** Writes a text, bytes or a message. */
export function writeBytes(number: number, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint(8 * number + WITH_LENGTH), varint(bytes.length), bytes]);
}

export function writeNumber(number: number, value: number): Buffer {
  return Buffer.concat([varint(8 * number + VARINT), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}
