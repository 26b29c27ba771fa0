import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { createSocketReader, type SocketReader } from '../../../../src/transport/http1/sockets.ts';
import { settled } from '../../../harness/manual-pool.ts';

/** A socket reader, and the calls of its consumer, which calls `onRead` in `read`. */
function watch(onRead: (reader: SocketReader, socket: Duplex) => void) {
  const calls: string[] = [];
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, written) => written() });
  const reader: SocketReader = createSocketReader(socket as Socket, {
    read(bytes) {
      calls.push(`read ${bytes}`);
      onRead(reader, socket);
      return bytes.length;
    },
    finish: () => void calls.push('finish'),
    resume: () => void calls.push('resume'),
  });
  return { reader, socket, calls };
}

for (const [what, onRead, expected] of [
  ['bytes and then the end after a pause', () => {}, ['resume', 'read hello', 'finish']],
  ['nothing after it was detached', (reader) => reader.detach(), ['resume', 'read hello']],
  ['no end after the socket was destroyed', (_, socket) => void socket.destroy(), ['resume', 'read hello']],
] as readonly [string, Parameters<typeof watch>[0], string[]][]) {
  test(`passes on ${what}`, async () => {
    const { reader, socket, calls } = watch(onRead);
    reader.pause();
    reader.push(Buffer.from('hello'));
    socket.emit('end');
    reader.resume(() => true);
    await settled();
    assert.deepEqual(calls, expected);
  });
}

test('leaves later bytes and the end to the next owner of the socket', async () => {
  const { reader, socket, calls } = watch(() => {});
  reader.detach();
  socket.push('more');
  socket.push(null);
  socket.resume();
  await settled();
  assert.deepEqual(calls, []);
  assert.equal(socket.readableEnded, true);
});
