import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { RevocationEntry } from '../tokens/revocation-list.ts';

/** A list of revocations in 256 parts, by the first byte of the key, so that two replicas find where their lists differ. */
export type Parts = readonly (readonly RevocationEntry[])[];

export const PARTS = 256;
/** 48 bits tell lists apart. Only replicas see them, so no attacker looks for two lists with one digest. */
const DIGEST_LENGTH = 8;
export const DIGESTS_LENGTH = PARTS * DIGEST_LENGTH;
/** Of 100,000 revocations, 8 parts take about 3 ms. Requests go on in between. */
const PARTS_AT_ONCE = 8;

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

export function partsOf(entries: Iterable<RevocationEntry>): Parts {
  const parts: RevocationEntry[][] = Array.from({ length: PARTS }, () => []);
  for (const entry of entries) (parts[partOf(entry)] as RevocationEntry[]).push(entry);
  return parts;
}

/** The revocation of all tokens of an issuer has no key. */
export function partOf({ key }: RevocationEntry): number {
  if (key === '') return 0;
  return ((BASE64URL.indexOf(key.charAt(0)) << 2) | (BASE64URL.indexOf(key.charAt(1)) >> 4)) & (PARTS - 1);
}

/** The digests of all parts as one text. They do not depend on the order of entries. */
export async function digestsOf(parts: Parts): Promise<string> {
  let text = '';
  for (const [index, part] of parts.entries()) {
    if (index % PARTS_AT_ONCE === PARTS_AT_ONCE - 1) await setImmediate();
    const entries = part.map(({ key, issuer, atMs }) => `${key} ${atMs} ${issuer}`).sort();
    text += hash('sha256', entries.join('\n'), 'base64url').slice(0, DIGEST_LENGTH);
  }
  return text;
}

/** The parts whose digests differ. */
export function differingParts(one: string, other: string): number[] {
  const digestAt = (text: string, part: number) => text.slice(part * DIGEST_LENGTH, (part + 1) * DIGEST_LENGTH);
  return Array.from({ length: PARTS }, (_, part) => part).filter(
    (part) => digestAt(one, part) !== digestAt(other, part),
  );
}
