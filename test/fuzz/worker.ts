import { parentPort, workerData } from 'node:worker_threads';
import { createRandom, type Random } from '../harness/random.ts';

/** Longest input. Every parser that is fuzzed has decided what to do well before that. */
const MAX_INPUT_BYTES = 4096;

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
  let runs = 0;

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
    const result: WorkerResult = { runs, seen: coverage.seen, added, ...(finding && { finding }) };
    parentPort?.postMessage(result);
  };

  let input: Buffer = Buffer.alloc(0);
  try {
    for (const given of seeds.toSorted((a, b) => a.length - b.length)) {
      input = Buffer.from(given).subarray(0, MAX_INPUT_BYTES);
      if (run(input)) corpus.push(input);
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

/** Global variable of the counters that `build.ts` adds to the code. */
export const COVERAGE_VARIABLE = '__cambist_fuzz__';

type Counters = Record<string, number>;

interface FileCoverage {
  readonly s: Counters;
  readonly b: Record<string, number[]>;
}

/** Reads the counters of all loaded files, and tells which inputs reach new code. */
function createCoverage() {
  const files = Object.values((globalThis as Record<string, unknown>)[COVERAGE_VARIABLE] ?? {}) as FileCoverage[];
  const groups = files.flatMap(({ s, b }) => [s, ...Object.values(b)] as Counters[]);
  const keys = groups.map((group) => Object.keys(group));
  const best = groups.map((group) => new Uint8Array(Object.keys(group).length));
  let seen = 0;

  return {
    /** Ways seen so far. */
    get seen(): number {
      return seen;
    },
    /** Sets all counters to 0. */
    reset(): void {
      for (const [index, group] of groups.entries()) for (const key of keys[index] ?? []) group[key] = 0;
    },
    /** Since `reset`: did the code take a way that it has not taken before, or take one more often by an order? */
    hasNew(): boolean {
      let isNew = false;
      for (const [index, group] of groups.entries()) {
        const bests = best[index] ?? new Uint8Array();
        for (const [position, key] of (keys[index] ?? []).entries()) {
          // 1, 2, 4, 8 … times are different: loops are ways of their own.
          const order = 32 - Math.clz32(group[key] ?? 0);
          if (order <= (bests[position] ?? 0)) continue;
          if (bests[position] === 0) seen += 1;
          bests[position] = order;
          isNew = true;
        }
      }
      return isNew;
    },
  };
}

/** Bytes that parsers treat in their own way. */
const SPECIAL = Buffer.from('\0\t\n\r "#%&\'(),/:;<=>?@[\\]{|}~\x7f\x80\xc3\xff');

/**
 * Changes an input in a few random places.
 * @param corpus other inputs, to take parts from
 * @param words texts that the code compares with
 */
function mutate(input: Buffer, random: Random, corpus: readonly Buffer[], words: readonly Buffer[]): Buffer {
  let mutated = input;
  for (let rest = 1 + random.int(5); rest > 0; rest -= 1) mutated = mutateOnce(mutated, random, corpus, words);
  return mutated.subarray(0, MAX_INPUT_BYTES);
}

function mutateOnce(input: Buffer, random: Random, corpus: readonly Buffer[], words: readonly Buffer[]): Buffer {
  const at = random.int(input.length + 1);
  const length = random.int(Math.min(input.length - at, 32) + 1);
  switch (random.int(8)) {
    case 0:
      return splice(input, at, Math.min(1, input.length - at), Buffer.of(random.int(256)));
    case 1:
      return splice(input, at, 0, special(random));
    case 2:
      return splice(input, at, Math.min(1, input.length - at), special(random));
    case 3:
      return splice(input, at, length, Buffer.alloc(0));
    case 4: {
      // Repeated, up to sizes at which limits are.
      const part = input.subarray(at, at + length);
      return splice(input, at, 0, Buffer.concat(Array.from({ length: 2 ** random.int(8) }, () => part)));
    }
    case 5: {
      const other = corpus[random.int(corpus.length)] ?? input;
      const from = random.int(other.length + 1);
      return splice(input, at, length, other.subarray(from, from + random.int(other.length - from + 1)));
    }
    case 6: {
      const word = words[random.int(words.length)];
      return word === undefined ? input : splice(input, at, random.chance(0.5) ? 0 : length, word);
    }
    default:
      return splice(input, at, length, Buffer.from(String(random.pick([0, -1, 1, 16, 255, 65_536, 2 ** 31, 1e21]))));
  }
}

function special(random: Random): Buffer {
  const at = random.int(SPECIAL.length);
  return SPECIAL.subarray(at, at + 1);
}

function splice(input: Buffer, at: number, remove: number, insert: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, at), insert, input.subarray(at + remove)]);
}
