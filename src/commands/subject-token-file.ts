import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import type { SubjectTokenInput } from '../doctor/check-subject.ts';
import { UsageError } from './command.ts';

/** No server takes a header as long as this; a pipe, or a file such as a log, may have no end. */
const MAX_BYTES = 64 * 1024;

/**
 * Reads a caller's token. What is read may be the bare token, or the line of a header that it was copied from.
 * @param file `-` is standard input: into a container without a shell no file can be copied
 * @throws {UsageError} where it cannot be read, or is longer than a token can be
 */
export async function readSubjectTokenFile(file: string): Promise<SubjectTokenInput> {
  const source = file === '-' ? 'standard input' : file;
  const written = await readBounded(file === '-' ? process.stdin : createReadStream(file), source);
  return { source, token: written.trim().replace(/^(?:authorization: *)?bearer +/i, '') };
}

async function readBounded(stream: Readable, source: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of stream) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > MAX_BYTES) break;
    }
  } catch {
    throw new UsageError(`the subject token file "${source}" cannot be read: ${MEND}`);
  }
  if (size > MAX_BYTES) {
    throw new UsageError(
      `the subject token file "${source}" is longer than ${MAX_BYTES / 1024} KiB, and so is no token: ${MEND}`,
    );
  }
  return Buffer.concat(chunks).toString('utf8');
}

const MEND = 'name a file that holds a token, or - for standard input';
