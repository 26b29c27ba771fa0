import { open } from 'node:fs/promises';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { type Clock, systemClock } from '../clock/clock.ts';
import { Secret } from './secret.ts';
import { OPEN_FLAGS, openWithin, readStart } from './within.ts';

/** Largest file of a secret, key or token. A certificate chain is much smaller. */
export const MAX_SECRET_BYTES = 256 * 1024;
/** A file that was read is not read again for this time. A read at each exchange would take a tenth of its CPU, in a thread of libuv. */
const READ_MS = 100;
/** A file that changed more recently than this may change again, and is read at each use. */
const YOUNG_MS = 3000;
/** Most files whose content is remembered. */
const MAX_FILES = 1000;

/**
 * Reads the content of a file without trailing line ends, as it was at most a tenth of a second ago. Returns the same `Secret` object
 * while the content is unchanged, and synchronously after a recent read.
 * @param within folders that no link may lead out of
 * @throws {Error} from the file system, or with the problem of the file and its fix
 */
export type ReadSecretFile = (
  file: string,
  mustCheck?: boolean,
  within?: readonly string[],
) => Secret | Promise<Secret>;

interface Remembered {
  readonly secret: Secret;
  /** Monotonic milliseconds. */
  readonly validUntilMs: number;
}

export function createSecretFileReader(clock: Clock = systemClock): ReadSecretFile {
  const remembered = new LRUCache<string, Remembered>({ max: MAX_FILES });
  const pending = new Map<string, Promise<Secret>>();
  const running = new Map<string, Promise<Secret>>();

  async function load(file: string, within: readonly string[] | undefined, key: string): Promise<Secret> {
    const readAtMs = clock.monotonicMs();
    const before = remembered.get(key)?.secret;
    remembered.delete(key);
    const handle = within === undefined ? await open(file, OPEN_FLAGS) : await openWithin(file, within);
    try {
      // Reading a device or a pipe may never end.
      const stats = await handle.stat();
      if (!stats.isFile()) throw new Error('is a folder, a device or a pipe: set the path of a file');
      const isYoung = clock.wallMs() < stats.ctimeMs + YOUNG_MS;
      const content = await readStart(handle, MAX_SECRET_BYTES);
      if (content.length > MAX_SECRET_BYTES) {
        throw new Error(`is larger than ${MAX_SECRET_BYTES} bytes: check that it is the right file`);
      }
      const text = content.toString('utf8').replace(/(?<![\r\n])[\r\n]+$/, '');
      const secret = before?.reveal() === text ? before : new Secret(text);
      remembered.set(key, { secret, validUntilMs: isYoung ? readAtMs : readAtMs + READ_MS });
      return secret;
    } finally {
      await handle.close();
    }
  }

  /** Calls in one turn of the event loop share a read, which starts after the last of them. */
  function loadAfterTurn(file: string, within: readonly string[] | undefined, key: string): Promise<Secret> {
    let loading = pending.get(key);
    if (loading === undefined) {
      loading = endOfTurn().then(() => {
        pending.delete(key);
        const started = load(file, within, key).finally(() => running.delete(key));
        running.set(key, started);
        return started;
      });
      pending.set(key, loading);
    }
    return loading;
  }

  function recent(key: string): Secret | undefined {
    const known = remembered.get(key);
    return known !== undefined && clock.monotonicMs() < known.validUntilMs ? known.secret : undefined;
  }

  return (file, mustCheck = false, within = undefined) => {
    const key = within === undefined ? file : JSON.stringify([file, within]);
    if (mustCheck) return loadAfterTurn(file, within, key);
    const known = recent(key);
    if (known !== undefined) return known;
    // A read in progress is mostly recent enough. Each turn until its end would otherwise start another.
    const find = () => recent(key) ?? loadAfterTurn(file, within, key);
    return running.get(key)?.then(find, find) ?? loadAfterTurn(file, within, key);
  };
}
