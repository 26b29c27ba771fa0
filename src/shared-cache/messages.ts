import { randomBytes } from 'node:crypto';
import { CLOCK_SKEW_MS } from '../tokens/shared-token.ts';
import { type Context, openWith, seal } from './seal.ts';
import type { StoreParts } from './store.ts';

/** `session_ended`: an MCP session. `revoked`: tokens of a subject or session. */
export type MessageTopic = 'session_ended' | 'revoked';

/** Longest message in characters, sealed. */
const MAX_LENGTH = 16 * 1024;
/** A replayed message is dropped after this time. Its effects can be repeated without harm before. */
const MAX_AGE_MS = 60_000;
/** Time limit, because no request waits for a message. */
const PUBLISH_MS = 1000;

/** Messages between replicas, sealed under the shared key. One that was altered, forged or kept for long is dropped. */
export type SharedMessages = ReturnType<typeof createMessages>;

export function createMessages({ store, keys, counts, clock, prefix }: StoreParts) {
  const channel = `${prefix}:messages`;
  const context: Context = ['message', channel];
  const self = randomBytes(12).toString('base64url');
  const listeners = new Map<string, ((payload: unknown) => void)[]>();

  function receive(message: string): void {
    const sealed = message.length > MAX_LENGTH ? undefined : message;
    const { from, topic, atMs, payload } = openWith(keys.current ?? [], sealed, context)?.content ?? {};
    if (from === self) return;
    const isFresh = typeof atMs === 'number' && Math.abs(clock.wallMs() - atMs) <= MAX_AGE_MS + CLOCK_SKEW_MS;
    const known = typeof topic === 'string' && isFresh ? listeners.get(topic) : undefined;
    counts.operation('receive', known === undefined ? 'invalid' : 'ok');
    for (const listener of known ?? []) listener(payload);
  }

  store.subscribe(channel, receive);

  return {
    /**
     * Sends a message to the other replicas. Never rejects.
     * @param payload anything that JSON can express, at most 11 KiB
     * @returns false if the server did not take it. The sender decides whether to repeat it
     */
    async publish(topic: MessageTopic, payload: unknown): Promise<boolean> {
      const [key] = await keys.read().catch(() => []);
      if (key === undefined) {
        counts.operation('publish', 'error');
        return false;
      }
      const text = JSON.stringify({ from: self, topic, atMs: clock.wallMs(), payload });
      const message = seal(text, undefined, key, context);
      if (message.length > MAX_LENGTH) return false;
      const sent = await store.use('publish', (server) => server.publish(channel, message), PUBLISH_MS);
      if (sent === undefined) return false;
      counts.operation('publish', 'ok');
      return true;
    },
    /** Receives the messages of other replicas, at most once each. Listeners must accept a repeated message. */
    on(topic: MessageTopic, listener: (payload: unknown) => void): void {
      listeners.set(topic, [...(listeners.get(topic) ?? []), listener]);
    },
    /** Called each time that messages arrive again: at the first connection, and after each fault. Earlier ones were lost. */
    onSubscribed: store.onUp,
  };
}
