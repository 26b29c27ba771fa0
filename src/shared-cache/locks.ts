import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { StoreKey } from './keys.ts';

/** The value of a lock: its holder, and how often the holder has renewed it. It cannot be written without the key. */
export interface LockValue {
  readonly holder: string;
  readonly renewals: number;
}

/** A lock lives this long after its last renewal. The replicas that wait for a replica that died go on after it. */
export const LOCK_MS = 800;
/** Interval at which its holder renews a lock. */
export const RENEW_MS = 250;

const LOCK = /^([\w-]{22})\.(\d{1,9})\.([\w-]{43})$/;

/** The first value of a new lock. No two locks have the same. */
export function newLock(): LockValue {
  return { holder: randomBytes(16).toString('base64url'), renewals: 0 };
}

/** @param name of the lock, so that its value means nothing elsewhere */
export function writeLock({ holder, renewals }: LockValue, name: string, key: StoreKey): string {
  return `${holder}.${renewals}.${macOf(holder, String(renewals), name, key).toString('base64url')}`;
}

/** Reads the value of a lock, if a replica wrote it. */
export function readLock(text: unknown, name: string, key: StoreKey): LockValue | undefined {
  const [, holder, renewals, mac] = typeof text === 'string' ? (LOCK.exec(text) ?? []) : [];
  if (holder === undefined || renewals === undefined || mac === undefined) return undefined;
  const expected = macOf(holder, renewals, name, key);
  const actual = Buffer.from(mac, 'base64url');
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) return undefined;
  return { holder, renewals: Number(renewals) };
}

function macOf(holder: string, renewals: string, name: string, key: StoreKey): Buffer {
  return createHmac('sha256', key.locks)
    .update(JSON.stringify([holder, renewals, name]))
    .digest();
}
