import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { Http1Dispatcher } from '../../../../src/transport/http1/dispatcher.ts';
import { soon } from '../../../harness/eventually.ts';
import { closeServer, listen } from '../../../harness/http-server.ts';

/** The outcome of a response: its body and how it ended. */
type Outcome = [body: string, end: 'complete' | 'aborted'];

/** Long enough for bytes to arrive over loopback. */
const ARRIVED_MS = 50;

/** @param last what the server does to its connection while the response is paused */
async function endWhilePaused(
  t: TestContext,
  headers: string,
  body: string,
  last: (socket: Socket) => void,
): Promise<Outcome> {
  let ended = (): void => {};
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n${headers}\r\n${body}`));
    ended = () => last(socket);
  });
  const { port } = await listen(server);
  t.after(() => closeServer(server));
  const dispatcher = new Http1Dispatcher({});
  t.after(() => dispatcher.destroy());
  let text = '';
  const outcome = new Promise<Outcome>((resolve) => {
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart() {},
      onResponseData(controller, chunk) {
        text += chunk;
        controller.pause();
        void delay(ARRIVED_MS)
          .then(ended)
          .then(() => delay(ARRIVED_MS))
          .then(() => controller.resume());
      },
      onResponseEnd: () => resolve([text, 'complete']),
      onResponseError: () => resolve([text, 'aborted']),
    };
    dispatcher.dispatch({ origin: `http://127.0.0.1:${port}`, path: '/', method: 'GET' }, handler);
  });
  return soon('the end of the response', outcome);
}

const end = (socket: Socket): void => void socket.end();
const reset = (socket: Socket): void => void socket.resetAndDestroy();

for (const [what, headers, body] of [
  ['without a length', '', 'hello'],
  ['with a length', 'Content-Length: 5\r\nConnection: close\r\n', 'hello'],
  ['with a length, on a persistent connection,', 'Content-Length: 5\r\n', 'hello'],
] as const) {
  test(`completes a response ${what} whose connection ends while it is paused`, async (t) => {
    assert.deepEqual(await endWhilePaused(t, headers, body, end), ['hello', 'complete']);
  });
}

for (const [what, headers, body, last] of [
  ['that is incomplete', 'Content-Length: 9\r\nConnection: close\r\n', 'hello', end],
  ['that is incomplete, on a persistent connection,', 'Content-Length: 9\r\n', 'hello', end],
  ['without its last chunk', 'Transfer-Encoding: chunked\r\nConnection: close\r\n', '5\r\nhello\r\n', end],
  ['without a length, by a reset', '', 'hello', reset],
  ['that is incomplete, by a reset', 'Content-Length: 9\r\nConnection: close\r\n', 'hello', reset],
] as const) {
  test(`aborts a response ${what} whose connection ends while it is paused`, async (t) => {
    assert.deepEqual(await endWhilePaused(t, headers, body, last), ['hello', 'aborted']);
  });
}

test('aborts a response without a length whose connection is reset', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\nhello');
      setTimeout(() => socket.resetAndDestroy(), ARRIVED_MS);
    });
  });
  const { port } = await listen(server);
  t.after(() => closeServer(server));
  const dispatcher = new Http1Dispatcher({});
  t.after(() => dispatcher.destroy());
  const ended = new Promise<string>((resolve) => {
    dispatcher.dispatch(
      { origin: `http://127.0.0.1:${port}`, path: '/', method: 'GET' },
      { onRequestStart() {}, onResponseEnd: () => resolve('complete'), onResponseError: () => resolve('aborted') },
    );
  });
  assert.equal(await soon('the end of the response', ended), 'aborted');
});
