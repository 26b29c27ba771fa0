import type { Socket } from 'node:net';
import { type ClientHello, readClientHello } from './client-hello.ts';

/** A ClientHello that has arrived, or bytes that cannot become one. */
export type FirstBytes = Exclude<ClientHello, { readonly kind: 'incomplete' }>;

/**
 * Waits for a whole ClientHello, which may arrive byte by byte, and puts its bytes back in front of what the connection has yet to
 * read. Closes the connection of a client that ends it before.
 */
export function readFirstBytes(socket: Socket, take: (hello: FirstBytes) => void): void {
  // One buffer, and no larger than what arrived: thousands of connections may wait, and a chunk may be a single byte.
  let read: Buffer = Buffer.alloc(0);
  const look = (): FirstBytes | undefined => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return undefined;
    read = read.length === 0 ? bytes : Buffer.concat([read, bytes]);
    const hello = readClientHello(read);
    return hello.kind === 'incomplete' ? undefined : hello;
  };
  const finish = (hello: FirstBytes): void => {
    socket.unshift(read);
    take(hello);
  };
  // Usually the whole ClientHello is there already.
  const first = look();
  if (first !== undefined) {
    finish(first);
    return;
  }
  const lookAgain = (): void => {
    const hello = look();
    if (hello === undefined) return;
    socket.off('readable', lookAgain);
    socket.off('end', close);
    finish(hello);
  };
  const close = (): void => void socket.destroy();
  socket.on('readable', lookAgain);
  socket.once('end', close);
}
