import { describe, test } from 'node:test';
import { startTestApp } from '../../harness/app.ts';
import {
  assertAllFinished,
  DISCONNECTS,
  get,
  openConnection,
  POINTS,
  post,
  startLeftBackend,
} from '../../harness/disconnects.ts';

/** Most tests wait for a timeout. */
const CONCURRENCY = 6;

describe('a caller that leaves', { concurrency: CONCURRENCY }, () => {
  for (const [point, reach, hidden] of POINTS) {
    for (const [way, leave] of DISCONNECTS) {
      test(`keeps nothing in flight for a caller that ${way} ${point}`, async (t) => {
        // Bytes that cambist does not read hide the disconnect. Only this timeout ends the request.
        const timeouts = { stall: hidden !== undefined && !way.includes('resets') ? '1s' : '1h' };
        const backend = await startLeftBackend(t);
        const app = await startTestApp(t, {
          limits: { shutdown_grace: '15s' },
          routes: [{ name: 'r', match: { path: '/r' }, upstream: `${backend.url}/r`, credential: 'none', timeouts }],
        });
        const connection = await openConnection(app);
        t.after(() => connection.socket.destroy());
        await reach({
          connection,
          send: connection.send,
          get: (path = '', more) => get(`/r${path}`, more),
          post: (path, bytes, body) => post(`/r${path}`, bytes, body),
          refused: (bytes) => post('/elsewhere', bytes),
          arrived: (count) => backend.arrived('/r', count),
        });
        leave(connection.socket);
        await assertAllFinished(app);
        await backend.allClosed();
      });
    }
  }
});
