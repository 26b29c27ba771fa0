import type { Writable } from 'node:stream';

/** What a request carries: nothing, all of it, or what comes bit by bit. */
export type Content = Buffer | AsyncIterable<Buffer> | null;

/**
 * Bytes of content that go out quicker as a text, a character for each, in one piece with the head before them. Node writes such a text
 * from its stack, up to 16 KiB with the head; of pieces it makes a list first, which costs a call half a microsecond and more.
 */
export const MAX_TEXT_BYTES = 8 * 1024;

/** Who is told whether it is the other side that is waited for. */
export interface Flow {
  /** It takes no more for now. */
  stalled(): void;
  /** It does again. */
  flows(): void;
}

/**
 * Writes what comes, no faster than it is taken, and does not end the stream.
 * @param write puts a chunk into the stream, as it does itself. @returns may more follow at once?
 * @returns false where the stream was closed meanwhile
 */
export async function pump(
  content: AsyncIterable<Buffer>,
  stream: Writable,
  { stalled, flows }: Flow,
  write = (chunk: Buffer): boolean => stream.write(chunk),
): Promise<boolean> {
  for await (const chunk of content) {
    if (isClosed(stream)) return false;
    if (write(chunk)) continue;
    stalled();
    await drained(stream);
    flows();
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
