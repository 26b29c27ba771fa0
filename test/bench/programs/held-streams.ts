import { type Connection, openConnections } from './connection.ts';
import type { Target } from './protocol.ts';
import { requestsTo } from './requests.ts';

/** Connections at a time, so that the listener's backlog is not what is measured. */
const BATCH = 100;

/** Streams that are opened and left alone. */
export function createHeldStreams(): { open(target: Target, count: number): Promise<void>; release(): void } {
  const held: Connection[] = [];
  return {
    async open(target, count) {
      const requests = requestsTo(target);
      while (count > held.length) {
        const connections = await openConnections(target.port, Math.min(BATCH, count - held.length));
        held.push(...connections);
        await Promise.all(connections.map((connection) => begun(connection, requests.next())));
      }
    },
    release() {
      for (const connection of held.splice(0)) connection.close();
    },
  };
}

function begun(connection: Connection, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    connection.send(request, (status) => reject(new Error(`a stream ended with ${status}`)), resolve);
  });
}
