import type { Socket } from 'node:net';

/** A caller has to wait for the response before it sends more (RFC 6455 section 4.1, RFC 9110 section 9.3.6). */
const MAX_EARLY_BYTES = 64 * 1024;

/**
 * Reads the bytes that a caller sends before its connection has switched, because Node reports that a
 * caller has left only while it reads. Closes the connection of a caller that closes its side, or sends too much.
 * @param first bytes that were already read
 * @returns stops reading, and puts all bytes back in front of what the connection has yet to read
 */
export function readEarlyBytes(socket: Socket, first: Buffer): () => void {
  const chunks = [first];
  let size = first.length;
  const close = (): void => void socket.destroy();
  const take = (chunk: Buffer): void => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_EARLY_BYTES) close();
  };
  socket.on('data', take);
  socket.once('end', close);
  return () => {
    socket.off('data', take);
    socket.off('end', close);
    socket.pause();
    if (size > 0) socket.unshift(Buffer.concat(chunks));
  };
}
