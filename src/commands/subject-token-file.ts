import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import type { SubjectTokenInput } from '../doctor/check-subject.ts';
import { UsageError } from './command.ts';

/** No server accepts a longer header. A pipe or device may be endless. */
const MAX_BYTES = 64 * 1024;

/**
 * Reads a caller's token: the bare token, or the header line that it was copied from.
 * @param file `-` is standard input, for containers that no file can be copied into
 * @throws {UsageError} if the file is unreadable or too long
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
    throw new UsageError(`the subject token file "${source}" cannot be read: ${FIX}`);
  }
  if (size > MAX_BYTES) {
    throw new UsageError(
      `the subject token file "${source}" is longer than ${MAX_BYTES / 1024} KiB, too long for a token: ${FIX}`,
    );
  }
  return Buffer.concat(chunks).toString('utf8');
}

const FIX = 'name a file that contains a token, or - for standard input';
