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
/** Without timeouts. */
const PATIENT = { ca: authority.cert, timeout: 0 };

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

/** Negotiates HTTP/2 by ALPN and then sends nothing. */
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
  ['a TLS handshake', () => new Http1Dispatcher(PATIENT), startSilence, null],
  ['the TLS handshake of a request that upgrades', () => new Http1Dispatcher(PATIENT), startSilence, 'websocket'],
  [
    'a TLS handshake that offers HTTP/2',
    () => new Http2Dispatcher({ connect: PATIENT }, new Http1Dispatcher({})),
    startSilence,
    null,
  ],
  [
    'the HTTP/2 settings',
    () => new Http2Dispatcher({ connect: PATIENT }, new Http1Dispatcher({})),
    startSilentHttp2,
    null,
  ],
] as const) {
  test(`destroys a dispatcher without waiting for ${what}`, async (t) => {
    const { origin, sockets } = await start(t);
    const dispatcher = create();
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
