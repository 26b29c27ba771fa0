import type { RevocationEntry } from '../tokens/revocation-list.ts';

/** A revocation in messages and records. */
export type WireEntry = readonly [key: string, issuer: string, atMs: number];

/** A digest in base64url, or nothing: all tokens of the issuer. */
const KEY = /^(?:[\w-]{43})?$/;
const MAX_ISSUER_LENGTH = 2048;
/** Bytes of the entries of one message. Sealed it is a third longer, and must stay below 16 KiB. */
const MAX_BATCH_LENGTH = 7000;
/** Most entries of one message, which are written at the same time. */
const MAX_BATCH_ENTRIES = 50;
/** Most entries that are read. */
const MAX_ENTRIES = 200_000;

export function toWire({ key, issuer, atMs }: RevocationEntry): WireEntry {
  return [key, issuer, atMs];
}

/** The opposite of `toWire`, of any value. Skips entries that are malformed. */
export function readEntries(values: unknown): RevocationEntry[] {
  return Array.isArray(values) ? values.slice(0, MAX_ENTRIES).flatMap(readEntry) : [];
}

function readEntry(value: unknown): RevocationEntry[] {
  const [key, issuer, atMs] = Array.isArray(value) ? (value as unknown[]) : [];
  if (typeof key !== 'string' || !KEY.test(key) || typeof issuer !== 'string' || issuer.length > MAX_ISSUER_LENGTH) {
    return [];
  }
  return typeof atMs === 'number' && Number.isFinite(atMs) ? [{ key, issuer, atMs }] : [];
}

/** Identifies the entry that a later revocation replaces. */
export function idOf({ key, issuer }: RevocationEntry): string {
  return key === '' ? `all ${issuer}` : key;
}

/** The first entries, as many as fit in one message. */
export function batchOf(entries: Iterable<RevocationEntry>): RevocationEntry[] {
  const batch: RevocationEntry[] = [];
  let length = 0;
  for (const entry of entries) {
    length += Buffer.byteLength(JSON.stringify(toWire(entry))) + 1;
    if (batch.length > 0 && (length > MAX_BATCH_LENGTH || batch.length >= MAX_BATCH_ENTRIES)) break;
    batch.push(entry);
  }
  return batch;
}
