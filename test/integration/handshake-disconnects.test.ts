import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { startGateway } from '../harness/gateway.ts';
import { connectRaw } from '../harness/http-call.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n';

/** A WebSocket handshake that has reached a backend. The test writes the response. */
async function startHandshake(t: TestContext) {
  const backend: { socket: Socket | undefined; text: string } = { socket: undefined, text: '' };
  const server = createServer((socket) => {
    backend.socket = socket;
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      backend.text += chunk;
    });
  });
  const { port } = await listen(server);
  t.after(() => {
    backend.socket?.destroy();
    return closeServer(server);
  });
  const gateway = await startGateway(t, { route: { upstream: `http://127.0.0.1:${port}` } });
  const client = await connectRaw(gateway.app.url);
  t.after(() => client.socket.destroy());
  client.send(
    `GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${gateway.authorization}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  );
  await eventually('the backend has the handshake', () => backend.text.includes('\r\n\r\n'));
  return { ...gateway, backend, client };
}

for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
  test(`closes the upstream connection when the caller closes its side during the handshake: ${how}`, async (t) => {
    const { app, backend, client } = await startHandshake(t);
    client.socket[how]();
    await eventually('the upstream connection is closed', () => backend.socket?.destroyed === true);
    await eventually('nothing is in flight', async () => {
      return sumSamples(await app.metrics(), 'cambist_requests_in_flight') === 0;
    });
    assert.ok(app.logs.some(({ msg, outcome }) => msg === 'request' && outcome === 'cancelled'));
  });
}

test('forwards bytes that a caller sends before the handshake response, in order and once', async (t) => {
  const { backend, client } = await startHandshake(t);
  client.send('early,');
  await new Promise((resolve) => setTimeout(resolve, 50));
  client.send('more,');
  backend.socket?.write(SWITCHED);
  await soon('the response', client.until('101 Switching'));
  client.send('late');
  await eventually('all bytes have arrived', () => backend.text.endsWith('late'));
  assert.equal(backend.text.slice(backend.text.indexOf('\r\n\r\n') + 4), 'early,more,late');
});
