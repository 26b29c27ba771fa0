import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { createSocketReader, type SocketConsumer, type SocketReader } from '../../../../src/transport/http1/sockets.ts';
import { settled } from '../../../harness/manual-pool.ts';

/** A socket reader, and the calls of its consumer. */
interface Watched {
  readonly reader: SocketReader;
  readonly socket: Duplex;
  readonly calls: string[];
}

/** @param onRead what the consumer does in `read` */
function watch(onRead: (watched: Watched) => void): Watched {
  const calls: string[] = [];
  const consumer: SocketConsumer = {
    read(bytes) {
      calls.push(`read ${bytes}`);
      onRead(watched);
      return bytes.length;
    },
    finish: () => void calls.push('finish'),
    resume: () => void calls.push('resume'),
  };
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, written) => written() });
  const watched = { reader: createSocketReader(socket as Socket, consumer), socket, calls };
  return watched;
}

/** Delivers bytes and the end of the socket during a pause, and then resumes. */
async function deliverWhilePaused({ reader, socket }: Watched): Promise<void> {
  reader.pause();
  reader.push(Buffer.from('hello'));
  socket.emit('end');
  reader.resume(() => true);
  await settled();
}

test('passes on bytes and then the end after a pause', async () => {
  const watched = watch(() => {});
  await deliverWhilePaused(watched);
  assert.deepEqual(watched.calls, ['resume', 'read hello', 'finish']);
});

test('passes on nothing after it was detached, not even the end', async () => {
  const watched = watch(({ reader }) => reader.detach());
  await deliverWhilePaused(watched);
  watched.socket.push('more');
  watched.socket.push(null);
  watched.socket.resume();
  await settled();
  assert.deepEqual(watched.calls, ['resume', 'read hello']);
  assert.equal(watched.socket.readableEnded, true);
});

test('passes on no end after the socket was destroyed', async () => {
  const watched = watch(({ socket }) => void socket.destroy());
  await deliverWhilePaused(watched);
  assert.deepEqual(watched.calls, ['resume', 'read hello']);
});
