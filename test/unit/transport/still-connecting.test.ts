import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { errors } from 'undici';
import { Http1Dispatcher } from '../../../src/transport/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../../src/transport/http2/dispatcher.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { follow } from '../../harness/followed.ts';
import { closeServer, listen } from '../../harness/http-server.ts';

const authority = createCertificateAuthority();
/** Nothing ends by itself. */
const PATIENT = { ca: authority.cert, timeout: 0 };

/** Takes connections and says nothing on them. */
async function startSilence(t: TestContext) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => {}).resume()));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(server);
  });
  return { origin: `https://localhost:${(await listen(server)).port}`, sockets };
}

/** Says by ALPN that it speaks HTTP/2, and nothing after that. */
async function startSilentHttp2(t: TestContext) {
  const sockets: TLSSocket[] = [];
  const server = createTlsServer({ ...authority.issueServer(), ALPNProtocols: ['h2'] }, (socket) => {
    sockets.push(socket.on('error', () => {}).resume());
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(server);
  });
  return { origin: `https://localhost:${(await listen(server)).port}`, sockets };
}

for (const [what, create, start, upgrade] of [
  ['a handshake of TLS', () => new Http1Dispatcher(PATIENT), startSilence, null],
  ['one of a connection that may be handed over', () => new Http1Dispatcher(PATIENT), startSilence, 'websocket'],
  [
    'one that offers HTTP/2',
    () => new Http2Dispatcher({ connect: PATIENT }, new Http1Dispatcher({})),
    startSilence,
    null,
  ],
  [
    'the start of HTTP/2',
    () => new Http2Dispatcher({ connect: PATIENT }, new Http1Dispatcher({})),
    startSilentHttp2,
    null,
  ],
] as const) {
  test(`a dispatcher that is destroyed does not wait for ${what}`, async (t) => {
    const { origin, sockets } = await start(t);
    const dispatcher = create();
    const waiting = follow(dispatcher, { origin, upgrade });
    await eventually('it connects', () => sockets.length === 1);
    await dispatcher.destroy();
    assert.ok((await waiting.over()).error instanceof errors.ClientDestroyedError);
    await eventually('its socket is closed', () => sockets[0]?.destroyed === true);
    const late = await follow(dispatcher, { origin, upgrade }).over();
    assert.ok(late.error instanceof errors.ClientDestroyedError);
    assert.deepEqual([waiting.events, sockets.length], [['error ClientDestroyedError'], 1]);
  });
}
