import { describe, type TestContext, test } from 'node:test';
import { behave, POINTS } from '../../harness/disconnect-points.ts';
import { assertAllFinished, DISCONNECTS, get, openConnection, post } from '../../harness/disconnects.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import type { UpstreamRequest } from '../../harness/fake-upstream.ts';
import { startGateway } from '../../harness/gateway.ts';

/** Bytes that cambist does not read hide the disconnect. Only this timeout ends the request. */
const HIDDEN = { stall: '1s' };
const SEEN = { stall: '1h' };
/** Most tests wait for a timeout. */
const CONCURRENCY = 6;

interface Backend {
  /** Requests that the backend has received. */
  readonly requests: UpstreamRequest[];
  /** Settles when the backend has seen every request close. */
  allGone(): Promise<unknown>;
}

async function startBackend(t: TestContext, timeouts: { stall: string }) {
  const ends: Promise<void>[] = [];
  const { app, upstream } = await startGateway(t, {
    handler({ message }, response) {
      ends.push(new Promise((resolve) => response.once('close', resolve)));
      for (const stream of [message, response]) stream.on('error', () => {});
      behave(message, response);
    },
    route: { credential: 'none', timeouts },
    top: { limits: { shutdown_grace: '15s' } },
  });
  const backend: Backend = {
    requests: upstream.requests,
    allGone: () => {
      // A connection whose reading is paused does not show the disconnect to the backend either.
      for (const { message } of upstream.requests) message.resume();
      return Promise.all(ends);
    },
  };
  return { app, backend };
}

describe('a caller that leaves', { concurrency: CONCURRENCY }, () => {
  for (const [point, reach, hidden] of POINTS) {
    for (const [way, leave] of DISCONNECTS) {
      test(`keeps nothing in flight for a caller that ${way} ${point}`, async (t) => {
        const timeouts = hidden !== undefined && !way.includes('resets') ? HIDDEN : SEEN;
        const { app, backend } = await startBackend(t, timeouts);
        const connection = await openConnection(app);
        t.after(() => connection.socket.destroy());
        await reach({
          connection,
          send: connection.send,
          get: (path = '', more) => get(`/github${path}`, more),
          post: (path, bytes, body) => post(`/github${path}`, bytes, body),
          refused: (bytes) => post('/elsewhere', bytes),
          arrived: (count = 1) => eventually('the backend has it', () => backend.requests.length === count),
        });
        leave(connection.socket);
        await assertAllFinished(app);
        await soon('the backend sees each request close', backend.allGone());
      });
    }
  }
});
