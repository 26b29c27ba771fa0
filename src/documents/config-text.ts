import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { errorCode } from '../errors.ts';

/** A ConfigMap is at most 1 MiB. A thousand routes take a third of that. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** Reads a text in UTF-8. @param isReload refuses a pipe or a device, which could wait for ever the second time */
export async function readConfigText(file: string, isReload = false): Promise<{ text: string } | { problem: string }> {
  if (isReload && (await isUnreloadable(file))) return { problem: PIPE };
  const chunks: Buffer[] = [];
  try {
    // A stream, because `--config /dev/stdin` has no size.
    for await (const chunk of createReadStream(file, { end: MAX_FILE_BYTES })) chunks.push(Buffer.from(chunk));
  } catch (error) {
    return { problem: whyUnreadable(error) };
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length > MAX_FILE_BYTES) return { problem: 'larger than 4 MiB: check that this is the right file' };
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return { problem: 'not UTF-8: save the file as UTF-8, or check that it is the right file' };
  }
}

const PIPE = 'neither a file nor a link to one, so it cannot be reloaded: put a file in its place, or restart';

/** False also for a missing file, which reading it reports. */
function isUnreloadable(file: string): Promise<boolean> {
  return stat(file).then(
    (stats) => !stats.isFile() && !stats.isDirectory(),
    () => false,
  );
}

const NO_SUCH_FILE =
  'no such file: name the config file with --config or CAMBIST_CONFIG, or write one with "cambist init"';

const WHY_UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: NO_SUCH_FILE,
  ENOTDIR: NO_SUCH_FILE,
  EISDIR: 'this is a folder: name the config file in it',
  EACCES: 'permission denied: let this user read the file',
};

function whyUnreadable(error: unknown): string {
  const code = errorCode(error) ?? 'unknown error';
  return WHY_UNREADABLE[code] ?? `cannot be read (${code}): check the path`;
}
