import type { Socket } from 'node:net';

/** A caller has to wait for the response before it sends more (RFC 6455 section 4.1, RFC 9110 section 9.3.6). */
const MAX_EARLY_BYTES = 64 * 1024;

/**
 * Reads the bytes that a caller sends before its connection has switched, because only a connection that is read shows its
 * end. Closes the connection of a caller that closes its side, or sends too much.
 * @param head the first of these bytes
 * @returns stops reading, and puts all bytes back in front of what the connection has yet to read
 */
export function readEarlyBytes(socket: Socket, head: Buffer): () => void {
  const chunks = [head];
  let size = head.length;
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
