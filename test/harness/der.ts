/** As much of DER (ITU-T X.690) as a certificate needs. */

const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

function element(tag: number, content: Buffer): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const bytes = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...bytes]), content]);
}

export const sequence = (...parts: Buffer[]) => element(TAG.sequence, Buffer.concat(parts));
export const set = (...parts: Buffer[]) => element(TAG.set, Buffer.concat(parts));
export const truth = () => element(TAG.boolean, Buffer.from([0xff]));
export const octetString = (content: Buffer) => element(TAG.octetString, content);
export const utf8String = (text: string) => element(TAG.utf8String, Buffer.from(text, 'utf8'));

/** `bytes` are unsigned, most significant first. */
export function integer(bytes: Buffer): Buffer {
  const needsSign = ((bytes[0] ?? 0) & 0x80) !== 0;
  return element(TAG.integer, needsSign ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

export function bitString(bytes: Buffer, unusedBits = 0): Buffer {
  return element(TAG.bitString, Buffer.concat([Buffer.from([unusedBits]), bytes]));
}

export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [40 * first + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return element(TAG.objectIdentifier, Buffer.from(bytes));
}

export function generalizedTime(date: Date): Buffer {
  const text = `${date.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
  return element(TAG.generalizedTime, Buffer.from(text, 'latin1'));
}

/** A context-specific tag around whole elements. */
export const explicit = (number: number, content: Buffer) => element(0xa0 | number, content);

/** A context-specific tag in place of an element's own. */
export const implicit = (number: number, content: Buffer) => element(0x80 | number, content);
