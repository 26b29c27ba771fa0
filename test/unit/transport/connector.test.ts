import assert from 'node:assert/strict';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type LookupFunction, type Socket } from 'node:net';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createConnector } from '../../../src/transport/connector.ts';
import { Http1Dispatcher } from '../../../src/transport/http1/dispatcher.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { dispatched } from '../../harness/dispatched.ts';
import { soon } from '../../harness/eventually.ts';
import { closeServer } from '../../harness/http-server.ts';

test('connects to an IPv6 address without its brackets', async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve));
  t.after(() => closeServer(server));
  const { port } = server.address() as { port: number };
  const connecting = new Promise<Socket>((resolve, reject) => {
    createConnector({}).connect(new URL(`http://[::1]:${port}`), (error, socket) =>
      error === null ? resolve(socket) : reject(error),
    );
  });
  const socket = await soon('the connection', connecting);
  assert.equal(socket.remoteAddress, '::1');
  socket.destroy();
});

test('verifies the certificate of an IPv6 address, and sends no server name', async (t) => {
  const authority = createCertificateAuthority();
  const dispatcher = new Http1Dispatcher({ ca: authority.cert, timeout: 1000 });
  t.after(() => dispatcher.destroy());
  const server = createHttpsServer(authority.issueServer({ hosts: ['::1'] }), (request, response) => {
    response.end(`${request.headers.host} ${(request.socket as TLSSocket).servername}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve));
  t.after(() => closeServer(server));
  const { port } = server.address() as AddressInfo;
  const response = await dispatched(dispatcher, { origin: `https://[::1]:${port}`, path: '/' });
  assert.equal(await soon('the response', response.text()), `[::1]:${port} false`);
});

/** The error of a connection that is not established in time. */
function failureWith(lookup: LookupFunction, url: string): Promise<NodeJS.ErrnoException> {
  const failure = new Promise<NodeJS.ErrnoException>((resolve, reject) => {
    createConnector({ lookup, timeout: 50 }).connect(new URL(url), (...[error]) =>
      error === null ? reject(new Error('connected')) : resolve(error),
    );
  });
  return soon('the timeout', failure);
}

test('reports a name that DNS did not resolve in time', async () => {
  const error = await failureWith(() => {}, 'http://a.example.com:9');
  assert.equal(error.code, 'EAI_AGAIN');
  assert.equal(error.message, 'DNS did not respond in time for a.example.com');
  assert.equal((error.cause as NodeJS.ErrnoException).code, 'UND_ERR_CONNECT_TIMEOUT');
});

test('reports a peer that was found and did not respond in time', async (t) => {
  // It accepts the connection, and never responds to the TLS handshake.
  const server = createServer((socket) => void socket.on('error', () => {}).resume());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => closeServer(server));
  const { port } = server.address() as AddressInfo;
  const found: LookupFunction = (_name, _options, callback) =>
    setImmediate(() => callback(null, [{ address: '127.0.0.1', family: 4 }]));
  const error = await failureWith(found, `https://a.example.com:${port}`);
  assert.equal(error.code, 'UND_ERR_CONNECT_TIMEOUT');
});
