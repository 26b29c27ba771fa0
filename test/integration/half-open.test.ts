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
/** The first bytes of a TLS client. */
const CLIENT_HELLO = Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
const MAX_IN_FLIGHT = 2;

/** An app with a low request limit, and clients that keep their side of a connection open. */
async function startLimited(t: TestContext) {
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const app = await startTestApp(t, {
    limits: { max_in_flight: MAX_IN_FLIGHT },
    routes: [{ name: 'r', match: { host: 'r.svc' }, upstream: upstream.url, credential: 'none' }],
  });
  const { hostname, port } = new URL(app.url);
  const connectHalfOpen = (bytes: string): Socket => {
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    socket.on('error', () => {});
    socket.write(bytes);
    t.after(() => socket.destroy());
    return socket;
  };
  return { app, connectHalfOpen };
}

/** Everything received until the server closes its side. The client keeps its side open. */
function received(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => void chunks.push(chunk));
  return soon(
    'the server closes its side',
    new Promise((resolve) => socket.once('end', () => resolve(Buffer.concat(chunks)))),
  );
}

test('frees the slot of a refused CONNECT whose client keeps the connection half open', async (t) => {
  const { app, connectHalfOpen } = await startLimited(t);
  for (let i = 0; i <= 2 * MAX_IN_FLIGHT; i += 1) {
    assert.match(
      String(await received(connectHalfOpen('CONNECT evil:1 HTTP/1.1\r\nHost: evil:1\r\n\r\n'))),
      /^HTTP\/1\.1 403 /,
    );
  }
  await eventually('all are logged', () => app.logs.filter(({ msg }) => msg === 'request').length > MAX_IN_FLIGHT);
  assert.equal((await call(app.url, { headers: { host: 'r.svc' } })).status, 200);
});

test('frees the slot of a refused WebSocket whose client keeps the connection half open', async (t) => {
  const { app, connectHalfOpen } = await startLimited(t);
  const handshake = 'GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  for (let i = 0; i <= 2 * MAX_IN_FLIGHT; i += 1) {
    assert.match(String(await received(connectHalfOpen(handshake))), /^HTTP\/1\.1 403 /);
  }
  assert.equal((await call(app.url, { headers: { host: 'r.svc' } })).status, 200);
  await eventually('nothing is in flight', async () => {
    return sumSamples(await app.metrics(), 'cambist_requests_in_flight') === 0;
  });
});

test('resets a connection after refusing TLS on it, though its client keeps its side open', async (t) => {
  const { connectHalfOpen } = await startLimited(t);
  const socket = connectHalfOpen(CONNECT);
  const response = received(socket);
  await soon('the tunnel', new Promise((resolve) => socket.once('data', resolve)));
  socket.write(CLIENT_HELLO);
  const text = await response;
  assert.deepEqual([...text.subarray(-7)], [0x15, 3, 1, 0, 2, 2, 40]);
  const reset = new Promise((resolve) => socket.once('close', resolve));
  // A closed socket responds to later bytes with a reset.
  const writing = setInterval(() => socket.write('x'), 20);
  t.after(() => clearInterval(writing));
  await soon('the reset', reset);
});
