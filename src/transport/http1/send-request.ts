import type { Socket } from 'node:net';
import { errors } from 'undici';
import { type Flow, MAX_TEXT_BYTES, pump } from '../pump.ts';
import type { RequestHead } from './request-head.ts';

/** Writes a request whose content is there, or that has none; by one system call. */
export function sendWhole(socket: Socket, head: string, content: Buffer | null): void {
  if (content === null || content.length <= MAX_TEXT_BYTES) {
    socket.write(content === null ? head : head + content.toString('latin1'), 'latin1');
    return;
  }
  socket.cork();
  socket.write(head, 'latin1');
  socket.write(content);
  socket.uncork();
}

/**
 * Writes a request whose content comes bit by bit, no faster than the upstream takes it.
 * @returns settles when the socket has all of it, or is closed
 * @throws {errors.RequestContentLengthMismatchError} there is more or less than the head has announced
 * @see RFC 9112 section 7.1
 */
export function sendBitByBit(
  socket: Socket,
  { text, length }: RequestHead,
  content: AsyncIterable<Buffer>,
  flow: Flow,
): Promise<void> {
  socket.write(text, 'latin1');
  return length === undefined ? sendChunks(socket, content, flow) : sendLength(socket, content, length, flow);
}

async function sendLength(socket: Socket, content: AsyncIterable<Buffer>, length: number, flow: Flow): Promise<void> {
  let left = length;
  let last: Buffer | undefined;
  const goesOn = await pump(content, socket, flow, (chunk) => {
    left -= chunk.length;
    if (left < 0) throw new errors.RequestContentLengthMismatchError();
    if (left > 0) return socket.write(chunk);
    // If more came behind it, the request would have looked whole.
    last ??= chunk;
    return true;
  });
  if (!goesOn) return;
  if (left > 0) throw new errors.RequestContentLengthMismatchError();
  if (last !== undefined) socket.write(last);
}

async function sendChunks(socket: Socket, content: AsyncIterable<Buffer>, flow: Flow): Promise<void> {
  const goesOn = await pump(content, socket, flow, (chunk) => {
    // An empty one would be the last.
    if (chunk.length === 0) return true;
    socket.cork();
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    socket.write(chunk);
    const more = socket.write('\r\n', 'latin1');
    socket.uncork();
    return more;
  });
  if (goesOn) socket.write('0\r\n\r\n', 'latin1');
}
