import { parentPort, workerData } from 'node:worker_threads';
import { createRandom } from '../chaos/random.ts';
import { createCoverage } from './coverage.ts';
import { MAX_INPUT_BYTES, mutate } from './mutate.ts';

/** Throws where an input breaks a promise. */
export type Target = (data: Buffer) => void;

export interface WorkerData {
  readonly seeds: readonly Uint8Array[];
  readonly words: readonly string[];
  readonly seed: number;
  readonly ms: number;
  /** Shared: the number of the current run, the length of its input, and the input. */
  readonly current: SharedArrayBuffer;
}

export interface WorkerResult {
  readonly runs: number;
  readonly seen: number;
  /** Inputs that reached new code, without the seeds. */
  readonly added: readonly Uint8Array[];
  /** Seeds that reach no code that an earlier seed does not reach. */
  readonly redundant: number;
  readonly finding?: { readonly input: Uint8Array; readonly error: string };
}

export const SHARED_BYTES = 8 + MAX_INPUT_BYTES;

/** Runs a target on mutations of its corpus until it fails or the time is up. */
export function runWorker(target: Target): void {
  const { seeds, words, seed, ms, current } = workerData as WorkerData;
  const [state, bytes] = [new Int32Array(current, 0, 2), new Uint8Array(current, 8)];
  const random = createRandom(seed);
  const coverage = createCoverage();
  const corpus: Buffer[] = [];
  const added: Buffer[] = [];
  const dictionary = words.map((word) => Buffer.from(word));
  const endMs = performance.now() + ms;
  let [runs, redundant] = [0, 0];

  /** @returns whether it reached new code */
  const run = (input: Buffer): boolean => {
    runs += 1;
    bytes.set(input);
    Atomics.store(state, 1, input.length);
    Atomics.store(state, 0, runs);
    coverage.reset();
    target(Buffer.from(input));
    return coverage.hasNew();
  };
  const finish = (finding?: WorkerResult['finding']): void => {
    const result: WorkerResult = { runs, seen: coverage.seen, added, redundant, ...(finding && { finding }) };
    parentPort?.postMessage(result);
  };

  let input: Buffer = Buffer.alloc(0);
  try {
    for (const given of seeds.toSorted((a, b) => a.length - b.length)) {
      input = Buffer.from(given).subarray(0, MAX_INPUT_BYTES);
      if (run(input)) corpus.push(input);
      else redundant += 1;
    }
    if (corpus.length === 0) corpus.push(Buffer.alloc(0));
    while (performance.now() < endMs) {
      input = mutate(corpus[random.int(corpus.length)] ?? input, random, corpus, dictionary);
      if (!run(input)) continue;
      corpus.push(input);
      added.push(input);
    }
  } catch (error) {
    const smallest = shrink(input, target);
    finish({ input: smallest, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    return;
  }
  finish();
}

/** Takes away parts for as long as the target still fails. */
function shrink(input: Buffer, target: Target): Buffer {
  let smallest = input;
  for (let size = smallest.length; size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < smallest.length; ) {
      const shorter = Buffer.concat([smallest.subarray(0, at), smallest.subarray(at + size)]);
      if (fails(target, shorter)) smallest = shorter;
      else at += size;
    }
  }
  return smallest;
}

function fails(target: Target, input: Buffer): boolean {
  try {
    target(Buffer.from(input));
    return false;
  } catch {
    return true;
  }
}
