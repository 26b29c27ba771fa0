import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { Http1Dispatcher } from '../../../../src/transport/http1/dispatcher.ts';
import { soon } from '../../../harness/eventually.ts';
import { closeServer, listen } from '../../../harness/http-server.ts';

/** What became of an answer: its body, and how it ended. */
type Got = [body: string, end: 'whole' | 'broken'];

/** Long enough for loopback to bring what was sent. */
const ARRIVED_MS = 50;

/** @param last what the server does to its connection while the answer is held back; undefined: nothing */
async function holdBack(t: TestContext, head: string, body: string, last: (socket: Socket) => void): Promise<Got> {
  let ended = (): void => {};
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n${body}`));
    ended = () => last(socket);
  });
  const { port } = await listen(server);
  t.after(() => closeServer(server));
  const dispatcher = new Http1Dispatcher({});
  t.after(() => dispatcher.destroy());
  let text = '';
  const got = new Promise<Got>((resolve) => {
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
      onResponseEnd: () => resolve([text, 'whole']),
      onResponseError: () => resolve([text, 'broken']),
    };
    dispatcher.dispatch({ origin: `http://127.0.0.1:${port}`, path: '/', method: 'GET' }, handler);
  });
  return soon('the end of the answer', got);
}

const end = (socket: Socket): void => void socket.end();
const reset = (socket: Socket): void => void socket.resetAndDestroy();

for (const [what, head, body] of [
  ['with its connection', '', 'hello'],
  ['by its length', 'Content-Length: 5\r\nConnection: close\r\n', 'hello'],
  ['by its length, on a connection that was to stay,', 'Content-Length: 5\r\n', 'hello'],
] as const) {
  test(`an answer that ends ${what} is whole, though the connection ends while it is held back`, async (t) => {
    assert.deepEqual(await holdBack(t, head, body, end), ['hello', 'whole']);
  });
}

for (const [what, head, body, last] of [
  ['that lacks a part', 'Content-Length: 9\r\nConnection: close\r\n', 'hello', end],
  ['that lacks a part, on a connection that was to stay,', 'Content-Length: 9\r\n', 'hello', end],
  ['in chunks that lacks the last', 'Transfer-Encoding: chunked\r\nConnection: close\r\n', '5\r\nhello\r\n', end],
  ['without a length whose connection breaks off', '', 'hello', reset],
  ['that lacks a part and whose connection breaks off', 'Content-Length: 9\r\nConnection: close\r\n', 'hello', reset],
] as const) {
  test(`an answer ${what} while it is held back is broken`, async (t) => {
    assert.deepEqual(await holdBack(t, head, body, last), ['hello', 'broken']);
  });
}

test('an answer without a length whose connection breaks off is broken, held back or not', async (t) => {
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
      { onRequestStart() {}, onResponseEnd: () => resolve('whole'), onResponseError: () => resolve('broken') },
    );
  });
  assert.equal(await soon('the end of the answer', ended), 'broken');
});

test('whoever installs cambist gets the release of undici whose parser it was tried with', () => {
  const { version } = JSON.parse(readFileSync('node_modules/undici/package.json', 'utf8'));
  assert.equal(JSON.parse(readFileSync('package.json', 'utf8')).dependencies.undici, version);
});
