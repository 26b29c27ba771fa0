import type { Http2ServerRequest } from 'node:http2';
import { describe, type TestContext, test } from 'node:test';
import { behave, POINTS } from '../../harness/disconnect-points.ts';
import { assertAllFinished, DISCONNECTS, get, openConnection, post } from '../../harness/disconnects.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { startHttp2Gateway } from '../../harness/http2-gateway.ts';

/** Bytes that cambist does not read hide the disconnect. Only this timeout ends the request. */
const HIDDEN = { stall: '1s' };
const SEEN = { stall: '1h' };
/** Most tests wait for a timeout. */
const CONCURRENCY = 6;

interface Backend {
  /** Requests that the backend has received. */
  readonly requests: Http2ServerRequest[];
  /** Settles when the backend has seen every request close. */
  allGone(): Promise<unknown>;
}

async function startBackend(t: TestContext, http2: boolean, timeouts: { stall: string }) {
  const ends: Promise<void>[] = [];
  const keys = { http2, credential: 'none', timeouts };
  const top = { limits: { shutdown_grace: '15s' } };
  const { app, state } = await startHttp2Gateway(
    t,
    (request, response) => {
      ends.push(new Promise((resolve) => response.once('close', resolve)));
      behave(request, response);
    },
    keys,
    {},
    top,
  );
  const backend: Backend = {
    requests: state.requests,
    allGone: () => {
      // A connection whose reading is paused does not show the disconnect to the backend either.
      for (const request of state.requests) request.resume();
      return Promise.all(ends);
    },
  };
  return { app, backend };
}

describe('a caller that leaves', { concurrency: CONCURRENCY }, () => {
  for (const http2 of [false, true]) {
    for (const [point, reach, hidden] of POINTS) {
      for (const [way, leave] of DISCONNECTS) {
        test(`keeps nothing in flight over HTTP/${http2 ? 2 : 1} for a caller that ${way} ${point}`, async (t) => {
          const timeouts = hidden !== undefined && !way.includes('resets') ? HIDDEN : SEEN;
          const { app, backend } = await startBackend(t, http2, timeouts);
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
  }
});
