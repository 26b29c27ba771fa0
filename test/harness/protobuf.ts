/** The value of a field: bytes for messages and strings, otherwise a number. */
export type WireValue = Buffer | bigint;

/**
 * Returns the fields of a protobuf message by their numbers, in order.
 * @see https://protobuf.dev/programming-guides/encoding/
 */
export function readMessage(bytes: Buffer): Map<number, WireValue[]> {
  const fields = new Map<number, WireValue[]>();
  let at = 0;

  function readVarint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  function readValue(wireType: number): WireValue {
    switch (wireType) {
      case 0:
        return readVarint();
      case 1:
        at += 8;
        return bytes.readBigUInt64LE(at - 8);
      case 2: {
        const length = Number(readVarint());
        at += length;
        return bytes.subarray(at - length, at);
      }
      case 5:
        at += 4;
        return BigInt(bytes.readUInt32LE(at - 4));
      default:
        throw new Error(`unknown wire type ${wireType} at ${at}`);
    }
  }

  while (at < bytes.length) {
    const key = Number(readVarint());
    const number = key >> 3;
    fields.set(number, [...(fields.get(number) ?? []), readValue(key & 7)]);
  }
  return fields;
}
