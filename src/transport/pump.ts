import type { Writable } from 'node:stream';

/** The content of a request: none, buffered, or streamed. */
export type Content = Buffer | AsyncIterable<Buffer> | null;

/**
 * Content up to this size is fastest as a string with a character for each byte, together with the headers before it. Node writes
 * such a string from its stack, up to 16 KiB. Separate pieces take half a microsecond more.
 */
export const MAX_TEXT_BYTES = 8 * 1024;

export interface Backpressure {
  blocked(): void;
  unblocked(): void;
}

/**
 * Writes streamed content no faster than the stream accepts it. Does not end the stream.
 * @param write writes one chunk. @returns whether more may follow at once
 * @returns false where the stream has closed meanwhile
 */
export async function pump(
  content: AsyncIterable<Buffer>,
  stream: Writable,
  { blocked, unblocked }: Backpressure,
  write = (chunk: Buffer): boolean => stream.write(chunk),
): Promise<boolean> {
  for await (const chunk of content) {
    if (isClosed(stream)) return false;
    if (write(chunk)) continue;
    blocked();
    await drained(stream);
    unblocked();
  }
  return !isClosed(stream);
}

function isClosed({ destroyed, closed }: Writable): boolean {
  return destroyed || closed;
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}
