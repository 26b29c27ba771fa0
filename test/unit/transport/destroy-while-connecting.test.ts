import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { errors } from 'undici';
import { Http1Dispatcher } from '../../../src/transport/http1/dispatcher.ts';
import { eventually } from '../../harness/eventually.ts';
import { follow } from '../../harness/followed.ts';
import { closeServer, listen } from '../../harness/http-server.ts';

/** Without timeouts. */
const PATIENT = { timeout: 0 };

/** Accepts connections and sends nothing. */
async function startSilence(t: TestContext) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => {}).resume()));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(server);
  });
  return { origin: `https://localhost:${(await listen(server)).port}`, sockets };
}

for (const [what, upgrade] of [
  ['a TLS handshake', null],
  ['the TLS handshake of a request that upgrades', 'websocket'],
] as const) {
  test(`destroys a dispatcher without waiting for ${what}`, async (t) => {
    const { origin, sockets } = await startSilence(t);
    const dispatcher = new Http1Dispatcher(PATIENT);
    const waiting = follow(dispatcher, { origin, upgrade });
    await eventually('the connection', () => sockets.length === 1);
    await dispatcher.destroy();
    assert.ok((await waiting.ended()).error instanceof errors.ClientDestroyedError);
    await eventually('the socket is closed', () => sockets[0]?.destroyed === true);
    const late = await follow(dispatcher, { origin, upgrade }).ended();
    assert.ok(late.error instanceof errors.ClientDestroyedError);
    assert.deepEqual([waiting.events, sockets.length], [['error ClientDestroyedError'], 1]);
  });
}
