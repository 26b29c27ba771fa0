import { type Connection, openConnections } from './connection.ts';
import type { Target } from './protocol.ts';
import { requestsTo } from './requests.ts';

/** The number of concurrent connection attempts. It must not exceed the listener's backlog. */
const BATCH = 100;

/** Streams that stay open. */
export function createOpenStreams(): { open(target: Target, count: number): Promise<void>; release(): void } {
  const held: Connection[] = [];
  return {
    async open(target, count) {
      const requests = requestsTo(target);
      while (count > held.length) {
        const connections = await openConnections(target, Math.min(BATCH, count - held.length));
        held.push(...connections);
        await Promise.all(connections.map((connection) => waitForHeaders(connection, requests.next())));
      }
    },
    release() {
      for (const connection of held.splice(0)) connection.close();
    },
  };
}

function waitForHeaders(connection: Connection, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    connection.send(request, (status) => reject(new Error(`a stream closed with status ${status}`)), resolve);
  });
}
