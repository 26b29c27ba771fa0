import { randomBytes } from 'node:crypto';
import type { KeepResult } from '../shared-cache/records.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import { DIGESTS_LENGTH, PARTS } from './revocation-parts.ts';

/** A revocation as replicas send it to each other, and keep it. */
export type WireEntry = readonly [key: string, issuer: string, atMs: number];

/** Keeps the entries of one message at the shared cache. Never rejects. */
export type KeepBatch = (batch: readonly RevocationEntry[]) => Promise<readonly KeepResult[]>;

/** A digest in base64url, or nothing: all tokens of the issuer. */
const KEY = /^(?:[\w-]{43})?$/;
const MAX_ISSUER_LENGTH = 2048;
/** Bytes of the entries of one message. Sealed it is a third longer, and must stay below 16 KiB. */
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

/** Divides entries, so that each part fits in one message. One part at a time: many entries take 100 ms. */
export function* batchesOf(entries: Iterable<RevocationEntry>): Generator<RevocationEntry[], void> {
  let batch: RevocationEntry[] = [];
  let length = 0;
  for (const entry of entries) {
    const own = Buffer.byteLength(JSON.stringify(toWire(entry))) + 1;
    if (batch.length > 0 && (length + own > MAX_BATCH_LENGTH || batch.length >= MAX_BATCH_ENTRIES)) {
      yield batch;
      batch = [];
      length = 0;
    }
    batch.push(entry);
    length += own;
  }
  if (batch.length > 0) yield batch;
}

/** A replica asks for the revocations that it may have missed. */
export interface Question {
  /** Random, so that a replayed reply belongs to no question. */
  readonly id: string;
  /** Ids under which the replica has sent this question before. */
  readonly earlier: readonly string[];
  /** Digests of its list; see `digestsOf`. */
  readonly digests: string;
  /** Name of the replica that asks, if it has just started and has nothing to tell. */
  readonly starting: string | undefined;
  /** Questions of others that it has received. */
  readonly heard: readonly string[];
}

/** One message of a reply. Messages may arrive in any order. */
export interface ReplyMessage {
  readonly id: string;
  /** The questions to which it replies. */
  readonly to: readonly string[];
  /** Number of this message, from 0, and of all. */
  readonly index: number;
  readonly count: number;
  /** Only in the first message: the parts of the list that the reply has in full. */
  readonly parts: readonly number[];
  readonly entries: readonly RevocationEntry[];
}

/** Questions that one reply is for, or that a question has heard. */
export const MAX_QUESTIONS = 64;
/** `MAX_ENTRIES`, a few in each message. */
const MAX_MESSAGES = 10_000;
/** 96 random bits in base64url. */
const ID = /^[\w-]{16}$/;

export function newId(): string {
  return randomBytes(12).toString('base64url');
}

export function readQuestion(value: unknown): Question | undefined {
  const { id, earlier, digests, starting, heard } = fieldsOf(value);
  if (!isId(id) || typeof digests !== 'string' || digests.length !== DIGESTS_LENGTH) return undefined;
  return {
    id,
    earlier: readIds(earlier),
    digests,
    starting: isId(starting) ? starting : undefined,
    heard: readIds(heard),
  };
}

export function writeReply({ id, to, index, count, parts, entries }: ReplyMessage): unknown {
  return { id, to, index, count, ...(index === 0 && { parts }), entries: entries.map(toWire) };
}

export function readReply(value: unknown): ReplyMessage | undefined {
  const { id, to, index, count, parts = [], entries } = fieldsOf(value);
  if (!isId(id) || !Array.isArray(to) || !Array.isArray(parts)) return undefined;
  if (!isBelow(count, MAX_MESSAGES + 1) || !isBelow(index, count)) return undefined;
  return {
    id,
    to: readIds(to),
    index,
    count,
    parts: parts.slice(0, PARTS).filter((part) => isBelow(part, PARTS)),
    entries: readEntries(entries),
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function readIds(value: unknown): string[] {
  return Array.isArray(value) ? value.slice(0, MAX_QUESTIONS).filter(isId) : [];
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && ID.test(value);
}

function isBelow(value: unknown, limit: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < limit;
}
