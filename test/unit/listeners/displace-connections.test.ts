import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { displaceConnections } from '../../../src/listeners/displace-connections.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { listen } from '../../harness/http-server.ts';

/** Opens the server on a free port. `connected` connects a client, which sends a text. */
async function openServer(t: TestContext, server: Server) {
  const { port } = await listen(server);
  const open: Socket[] = [];
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const connected = async (text = '', tls?: ConnectionOptions): Promise<Socket> => {
    const socket = tls === undefined ? connect(port, '127.0.0.1') : connectTls(port, '127.0.0.1', tls);
    socket.on('error', () => {});
    open.push(socket);
    await once(socket, tls === undefined ? 'connect' : 'secureConnect');
    socket.write(text);
    return socket;
  };
  return { port, connected };
}

test('serves a new client while others hold all connections, and closes the oldest of theirs', async (t) => {
  const server = createServer((_request, response) => response.end('served'));
  const told: number[] = [];
  const { counts } = displaceConnections(server, 3, (count) => told.push(count));
  const { port, connected } = await openServer(t, server);
  const [oldest, ...others] = [await connected(), await connected(), await connected()];
  await eventually('three connections', () => counts.open === 3);
  const closed = once(oldest as Socket, 'close');
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
  assert.equal(await response.text(), 'served');
  await closed;
  assert.ok(others.every((socket) => !socket.destroyed && socket.readable));
  assert.equal(counts.dropped, 1);
  assert.deepEqual(told, [1]);
  for (let i = 0; i < 5; i += 1) await connected();
  await eventually('no more than three', () => counts.open <= 3 && counts.dropped >= 4);
  assert.deepEqual(told, [1]);
});

test('keeps a complete request while other clients connect, but no more than half', async (t) => {
  const waiting: ServerResponse[] = [];
  const server = createServer((request, response) => {
    request.resume();
    waiting.push(response);
  });
  const { counts } = displaceConnections(server, 4, () => {});
  const { connected } = await openServer(t, server);
  const post = 'POST / HTTP/1.1\r\nhost: cambist\r\nconnection: close\r\ncontent-length: 0\r\n\r\n';
  const genuine = await connected(post);
  await eventually('a request', () => waiting.length === 1);
  for (let i = 0; i < 8; i += 1) await connected();
  await eventually('others are dropped', () => counts.dropped === 5);
  assert.ok(!genuine.destroyed && genuine.readable);
  assert.equal(waiting[0]?.destroyed, false);
  // Requests that are never answered keep no client out.
  for (let i = 0; i < 3; i += 1) {
    await connected(post);
    await eventually('another request', () => waiting.length === i + 2);
  }
  const late = await connected();
  await eventually('the oldest request made room', () => counts.dropped === 9);
  late.write(post);
  await eventually('the late request', () => waiting.length === 5);
});

test('keeps a complete request over TLS while other clients connect', async (t) => {
  const authority = createCertificateAuthority();
  const waiting: ServerResponse[] = [];
  const server = createTlsServer(authority.issueServer(), (request, response) => {
    request.resume();
    waiting.push(response);
  });
  const { counts } = displaceConnections(server, 4, () => {});
  const { connected } = await openServer(t, server);
  const post = 'POST / HTTP/1.1\r\nhost: cambist\r\ncontent-length: 0\r\n\r\n';
  const genuine = await connected(post, { ca: authority.cert });
  await eventually('a request', () => waiting.length === 1);
  for (let i = 0; i < 8; i += 1) await connected();
  await eventually('others are dropped', () => counts.dropped === 5);
  assert.ok(!genuine.destroyed && genuine.readable);
  assert.equal(waiting[0]?.destroyed, false);
});
