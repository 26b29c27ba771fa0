import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { buildTarget } from './build.ts';
import { corpusFolder, readCorpus, TARGETS } from './corpus.ts';
import { SHARED_BYTES, type WorkerData, type WorkerResult } from './worker.ts';

const USAGE = `Usage: npm run fuzz -- [TARGET]… [--seconds N] [--seed N] [--keep]

Runs parsers on mutated inputs, led by the code that these reach, and checks what the parsers promise.
Targets: ${TARGETS.join(', ')}
  --seconds N   how long for each target, 10 by default
  --seed N      repeats the mutations of a run
  --keep        adds inputs that reached new code to test/fuzz/corpus
`;

const CACHE = join(import.meta.dirname, '../../.cache/fuzz');

/** A run takes a millisecond. One that takes this long hangs. */
const HANG_MS = 60_000;

/** Inputs beyond these would not keep the corpus small. */
const MAX_KEPT = 30;
const MAX_KEPT_BYTES = 600;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '10' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
  const unknown = positionals.filter((name) => !TARGETS.includes(name));
  if (values.help || unknown.length > 0 || !(seconds > 0) || !Number.isSafeInteger(seed)) {
    process.stdout.write(USAGE);
    return values.help ? 0 : 2;
  }
  mkdirSync(CACHE, { recursive: true });
  process.stdout.write(`seed ${seed}\n`);
  let failed = 0;
  for (const name of positionals.length === 0 ? TARGETS : positionals) {
    const result = await fuzzTarget(name, seconds * 1000, seed);
    const { runs, seen, added, finding } = result;
    process.stdout.write(`${name}: ${runs} runs, ${seen} places reached, ${added.length} new inputs\n`);
    if (values.keep) keep(name, added);
    if (finding === undefined) continue;
    failed += 1;
    const file = save(join(CACHE, 'findings', name), finding.input);
    process.stdout.write(`${name} FAILED: ${finding.error}\ninput: ${relative(process.cwd(), file)}\n`);
  }
  return failed === 0 ? 0 : 1;
}

async function fuzzTarget(name: string, ms: number, seed: number): Promise<WorkerResult> {
  const { file, words } = await buildTarget(name, CACHE);
  const seeds = readCorpus(name);
  const current = new SharedArrayBuffer(SHARED_BYTES);
  const [state, bytes] = [new Int32Array(current, 0, 2), new Uint8Array(current, 8)];
  const workerData: WorkerData = { seeds, words, seed, ms, current };
  const worker = new Worker(file, { workerData, execArgv: [] });
  return new Promise((resolve, reject) => {
    let before = -1;
    const watch = setInterval(() => {
      const runs = Atomics.load(state, 0);
      if (runs === before && runs > 0) {
        const input = bytes.slice(0, Atomics.load(state, 1));
        const finding = { input, error: `one input takes longer than ${HANG_MS} ms` };
        settle(() => resolve({ runs, seen: 0, added: [], finding }));
      }
      before = runs;
    }, HANG_MS);
    const settle = (then: () => void): void => {
      clearInterval(watch);
      void worker.terminate();
      then();
    };
    worker.once('message', (result: WorkerResult) => settle(() => resolve(result)));
    worker.once('error', (error) => settle(() => reject(error)));
  });
}

function keep(name: string, added: readonly Uint8Array[]): void {
  const folder = corpusFolder(name);
  const small = added.filter(({ length }) => length <= MAX_KEPT_BYTES).toSorted((a, b) => a.length - b.length);
  mkdirSync(folder, { recursive: true });
  for (const input of small.slice(0, Math.max(0, MAX_KEPT - readdirSync(folder).length))) save(folder, input);
}

function save(folder: string, input: Uint8Array): string {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, createHash('sha256').update(input).digest('hex').slice(0, 16));
  writeFileSync(file, input);
  return file;
}
