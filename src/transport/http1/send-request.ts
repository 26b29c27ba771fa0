import type { Socket } from 'node:net';
import { errors } from 'undici';
import { type Backpressure, MAX_TEXT_BYTES, pump } from '../pump.ts';
import type { EncodedRequest } from './encode-request.ts';

/** Writes a request without content or with buffered content, by one system call. */
export function sendBuffered(socket: Socket, headers: string, content: Buffer | null): void {
  if (content === null || content.length <= MAX_TEXT_BYTES) {
    socket.write(content === null ? headers : headers + content.toString('latin1'), 'latin1');
    return;
  }
  socket.cork();
  socket.write(headers, 'latin1');
  socket.write(content);
  socket.uncork();
}

/**
 * Writes a request with streamed content, no faster than the upstream accepts it.
 * @returns settles when the socket has all of it, or is closed
 * @throws {errors.RequestContentLengthMismatchError} the content does not have the announced length
 * @see RFC 9112 section 7.1
 */
export function sendStreamed(
  socket: Socket,
  { text, length }: EncodedRequest,
  content: AsyncIterable<Buffer>,
  backpressure: Backpressure,
): Promise<void> {
  socket.write(text, 'latin1');
  return length === undefined
    ? sendChunks(socket, content, backpressure)
    : sendLength(socket, content, length, backpressure);
}

async function sendLength(
  socket: Socket,
  content: AsyncIterable<Buffer>,
  length: number,
  backpressure: Backpressure,
): Promise<void> {
  let left = length;
  let last: Buffer | undefined;
  const isOpen = await pump(content, socket, backpressure, (chunk) => {
    left -= chunk.length;
    if (left < 0) throw new errors.RequestContentLengthMismatchError();
    if (left > 0) return socket.write(chunk);
    // Written only at the end of the content. If more followed, the request would already look complete.
    last ??= chunk;
    return true;
  });
  if (!isOpen) return;
  if (left > 0) throw new errors.RequestContentLengthMismatchError();
  if (last !== undefined) socket.write(last);
}

async function sendChunks(socket: Socket, content: AsyncIterable<Buffer>, backpressure: Backpressure): Promise<void> {
  const isOpen = await pump(content, socket, backpressure, (chunk) => {
    // An empty chunk would end the content.
    if (chunk.length === 0) return true;
    socket.cork();
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    socket.write(chunk);
    const mayWriteMore = socket.write('\r\n', 'latin1');
    socket.uncork();
    return mayWriteMore;
  });
  if (isOpen) socket.write('0\r\n\r\n', 'latin1');
}
