import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { echo } from '../harness/upstream-handlers.ts';

const CONNECT = 'CONNECT r.svc:443 HTTP/1.1\r\n\r\n';
/** How a TLS client begins. */
const CLIENT_HELLO = Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
const MAX_IN_FLIGHT = 2;

/** cambist with few places, and clients that keep their side of a connection open whatever it answers. */
async function startNarrow(t: TestContext) {
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const app = await startTestApp(t, {
    limits: { max_in_flight: MAX_IN_FLIGHT },
    routes: [{ name: 'r', match: { host: 'r.svc' }, upstream: upstream.url, credential: 'none' }],
  });
  const { hostname, port } = new URL(app.url);
  const hold = (bytes: string): Socket => {
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    socket.on('error', () => {});
    socket.write(bytes);
    t.after(() => socket.destroy());
    return socket;
  };
  return { app, hold };
}

/** All that comes until the far side ends; this side does not. */
function heard(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => void chunks.push(chunk));
  return soon(
    'the end of the answer',
    new Promise((resolve) => socket.once('end', () => resolve(Buffer.concat(chunks)))),
  );
}

test('a refused CONNECT that its client keeps half open takes no place', async (t) => {
  const { app, hold } = await startNarrow(t);
  for (let i = 0; i <= 2 * MAX_IN_FLIGHT; i += 1) {
    assert.match(String(await heard(hold('CONNECT evil:1 HTTP/1.1\r\nHost: evil:1\r\n\r\n'))), /^HTTP\/1\.1 403 /);
  }
  await eventually('they have all ended', () => app.logs.filter(({ msg }) => msg === 'request').length > MAX_IN_FLIGHT);
  assert.equal((await call(app.url, { headers: { host: 'r.svc' } })).status, 200);
});

test('a refused WebSocket that its client keeps half open takes no place', async (t) => {
  const { app, hold } = await startNarrow(t);
  const handshake = 'GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  for (let i = 0; i <= 2 * MAX_IN_FLIGHT; i += 1) {
    assert.match(String(await heard(hold(handshake))), /^HTTP\/1\.1 403 /);
  }
  assert.equal((await call(app.url, { headers: { host: 'r.svc' } })).status, 200);
  await eventually('nothing is in flight', async () => {
    return sumSamples(await app.metrics(), 'cambist_requests_in_flight') === 0;
  });
});

test('a connection on which TLS was refused is gone, though its client keeps its side open', async (t) => {
  const { hold } = await startNarrow(t);
  const socket = hold(CONNECT);
  const answer = heard(socket);
  await soon('the tunnel', new Promise((resolve) => socket.once('data', resolve)));
  socket.write(CLIENT_HELLO);
  const text = await answer;
  assert.deepEqual([...text.subarray(-7)], [0x15, 3, 1, 0, 2, 2, 40]);
  const reset = new Promise((resolve) => socket.once('close', resolve));
  // Whoever has let go of a connection answers what still comes on it with a reset.
  const talking = setInterval(() => socket.write('x'), 20);
  t.after(() => clearInterval(talking));
  await soon('the reset', reset);
});
