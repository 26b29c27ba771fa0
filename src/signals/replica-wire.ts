import type { KeepResult } from '../shared-cache/records.ts';
import type { RevocationEntry } from '../tokens/revocations.ts';

/** A revocation as replicas send it to each other, and keep it. */
export type WireEntry = readonly [key: string, issuer: string, atMs: number];

/** Keeps the entries of one message at the shared cache. Never rejects. */
export type KeepBatch = (batch: readonly RevocationEntry[]) => Promise<readonly KeepResult[]>;

/** A digest in base64url, or nothing: all tokens of the issuer. */
const KEY = /^(?:[\w-]{43})?$/;
const MAX_ISSUER_LENGTH = 2048;
/** Characters of one message. Sealed it is a third longer, and must stay below 16 KiB. */
const MAX_BATCH_LENGTH = 7000;
/** Most entries of one message, which are kept at the same time. */
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

/** Divides entries, so that each part fits in one message. */
export function batchesOf(entries: Iterable<RevocationEntry>): RevocationEntry[][] {
  const batches: RevocationEntry[][] = [];
  let length = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    const own = JSON.stringify(toWire(entry)).length + 1;
    const last = batches.at(-1);
    if (last === undefined || length + own > MAX_BATCH_LENGTH || last.length >= MAX_BATCH_ENTRIES) {
      batches.push([entry]);
      length = own;
    } else {
      last.push(entry);
      length += own;
    }
  }
  return batches;
}
