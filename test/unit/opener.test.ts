import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { Http1Dispatcher } from '../../src/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../src/http2/dispatcher.ts';
import { createOpener } from '../../src/opener.ts';
import { dispatched } from '../harness/dispatched.ts';
import { soon } from '../harness/eventually.ts';
import { closeServer } from '../harness/http-server.ts';

test('an IPv6 address is connected to without its brackets', async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve));
  t.after(() => closeServer(server));
  const { port } = server.address() as { port: number };
  const opening = new Promise<Socket>((resolve, reject) => {
    createOpener({})(new URL(`http://[::1]:${port}`), (error, socket) =>
      error === null ? resolve(socket) : reject(error),
    );
  });
  const socket = await soon('the connection', opening);
  assert.equal(socket.remoteAddress, '::1');
  socket.destroy();
});

test('nor are they looked up where HTTP/2 is offered', async (t) => {
  const dispatcher = new Http2Dispatcher({ connect: { timeout: 1000 } }, new Http1Dispatcher({}));
  t.after(() => dispatcher.destroy());
  await assert.rejects(dispatched(dispatcher, { origin: 'https://[::1]:9', path: '/' }), { code: 'ECONNREFUSED' });
});
