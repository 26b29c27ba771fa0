import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { createIntake, type Intake, type Reader } from '../../../../src/transport/http1/intake.ts';
import { settled } from '../../../harness/opened-by-hand.ts';

/** An intake, and all that its reader was told. */
interface Watched {
  readonly intake: Intake;
  readonly socket: Duplex;
  readonly told: string[];
}

/** @param onRead what the reader does as it is given something */
function watch(onRead: (watched: Watched) => void): Watched {
  const told: string[] = [];
  const reader: Reader = {
    read(bytes) {
      told.push(`read ${bytes}`);
      onRead(watched);
      return bytes.length;
    },
    finish: () => void told.push('finish'),
    release: () => void told.push('release'),
  };
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, written) => written() });
  const watched = { intake: createIntake(socket as Socket, reader), socket, told };
  return watched;
}

/** Holds back what comes, and the end of it, and then lets both go on. */
async function holdBack({ intake, socket }: Watched): Promise<void> {
  intake.hold();
  intake.push(Buffer.from('hello'));
  socket.emit('end');
  intake.release(() => true);
  await settled();
}

test('what was held back goes on, and then the end of it', async () => {
  const watched = watch(() => {});
  await holdBack(watched);
  assert.deepEqual(watched.told, ['release', 'read hello', 'finish']);
});

test('a socket that is left as what was held back is read says nothing more, not even that it has ended', async () => {
  const watched = watch(({ intake }) => intake.leave());
  await holdBack(watched);
  watched.socket.push('more');
  watched.socket.push(null);
  watched.socket.resume();
  await settled();
  assert.deepEqual(watched.told, ['release', 'read hello']);
  assert.equal(watched.socket.readableEnded, true);
});

test('a socket that is destroyed as what was held back is read has not ended', async () => {
  const watched = watch(({ socket }) => void socket.destroy());
  await holdBack(watched);
  assert.deepEqual(watched.told, ['release', 'read hello']);
});
