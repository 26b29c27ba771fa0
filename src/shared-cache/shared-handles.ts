import { createHmac } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { Secret } from '../secrets/secret.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { ACQUIRE } from './scripts.ts';
import { MAX_SEALED_LENGTH, nameOf, open, type StoreKey, seal } from './seal.ts';
import type { StoreParts } from './store.ts';

/** A handle that is in use is written again after this time, because the server may have lost it. */
const SHARED_AGAIN_MS = 60_000;
const MAX_KNOWN = 10_000;

/** The handles of `inbound`, which are the same at every replica, and which every replica can resolve. */
export type SharedHandles = ReturnType<typeof createSharedHandles>;

export function createSharedHandles({ store, keys, counts, clock, prefix }: StoreParts) {
  const known = new LRUCache<string, true>({
    max: MAX_KNOWN,
    ttl: SHARED_AGAIN_MS,
    ttlResolution: 0,
    perf: { now: () => clock.monotonicMs() },
  });

  const placeOf = (text: string, key: StoreKey): string => `${prefix}:{${nameOf(key, 'handle', text)}}:h`;

  async function write(text: string, token: Secret, lifetimeMs: number): Promise<void> {
    const [key] = keys.current ?? [];
    if (key === undefined) return;
    const name = placeOf(text, key);
    // The handle seals the token as well, because the server has neither of the two.
    const value = seal(JSON.stringify({ token: token.reveal() }), new Secret(text), key, ['handle', name]);
    if (value.length > MAX_SEALED_LENGTH) return;
    const kept = await store.use('handle', (server) => server.set(name, value, lifetimeMs));
    if (kept === undefined) return;
    counts.operation('handle', 'ok');
    known.set(text, true);
  }

  async function read(text: string, key: StoreKey): Promise<string | undefined> {
    const name = placeOf(text, key);
    const args = ['', '0', String(MAX_SEALED_LENGTH), ''];
    const reply = await store.use('handle', (server) => server.run(ACQUIRE, [name, `${name}l`], args));
    const [value] = Array.isArray(reply?.value) ? (reply.value as unknown[]) : [];
    if (typeof value !== 'string' || value === '') return undefined;
    const { token } = parseJsonObject(open(value, new Secret(text), key, ['handle', name]) ?? '') ?? {};
    return typeof token === 'string' ? token : undefined;
  }

  return {
    /** The digest of the handle of a token, once the key was read. */
    digestOf(token: string): string | undefined {
      const [key] = keys.current ?? [];
      return key && digestUnder(key, token);
    },
    /**
     * Lets other replicas resolve a handle. Never rejects.
     * @param expiresAtMs epoch milliseconds
     * @returns undefined if it was shared a moment ago
     */
    share(text: string, token: Secret, expiresAtMs: number): Promise<void> | undefined {
      const lifetimeMs = Math.floor(expiresAtMs - clock.wallMs());
      return known.has(text) || lifetimeMs < 1 ? undefined : write(text, token, lifetimeMs);
    },
    /**
     * Resolves a handle of another replica. Never rejects.
     * @returns the token, and the digest that its handle must have
     */
    async find(text: string): Promise<{ readonly token: Secret; readonly digest: string } | undefined> {
      for (const key of keys.current ?? []) {
        const token = await read(text, key);
        if (token === undefined) continue;
        counts.operation('handle', 'hit');
        return { token: new Secret(token), digest: digestUnder(key, token) };
      }
      counts.operation('handle', 'miss');
      return undefined;
    },
  };
}

function digestUnder(key: StoreKey, token: string): string {
  return createHmac('sha256', key.handles).update(token).digest('base64url');
}
