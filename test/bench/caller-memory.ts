import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type StartedContestant, startContestant } from './contestants.ts';
import { withEnvironment } from './environment.ts';
import { growthByKind, type HeapByKind, sumByKind } from './heap-snapshot.ts';
import type { LoadProcess } from './load-process.ts';
import { createCambist } from './peers/cambist.ts';
import { pinSelf, residentMib } from './processes.ts';

/**
 * Says what one caller with one cached token costs in memory, and of what kinds of objects. Usage: npx tsx test/bench/caller-memory.ts
 * [--node FILE] [--callers N]. Run `npm run build` before.
 */
const { values } = parseArgs({
  options: { node: { type: 'string', default: process.execPath }, callers: { type: 'string', default: '10000' } },
});
const callers = Number(values.callers);
/** Callers before the first snapshot. The code of an exchange is then loaded and compiled. */
const FIRST_CALLERS = 500;
const SHOWN = 14;
const POLL_MS = 20;

const cambist = createCambist({
  name: 'cambist',
  logLevel: 'info',
  nodeFlags: ['--heapsnapshot-signal=SIGUSR2', `--diagnostic-dir=${tmpdir()}`],
});

pinSelf();
await withEnvironment(values.node, async (environment) => {
  const started = await startContestant({ label: 'cambist', peer: cambist }, environment);
  try {
    await report(started, environment.load);
  } finally {
    await started.proxy.close();
  }
});

async function report(started: StartedContestant, load: LoadProcess): Promise<void> {
  const [pid = 0] = started.proxy.pids;
  await load.each({ ...started.target, subjects: FIRST_CALLERS });
  const before = await takeSnapshot(started, load);
  const beforeMib = residentMib(pid) ?? Number.NaN;
  // These callers have new tokens, and the first ones stay.
  await load.each({ ...started.target, subjects: callers - FIRST_CALLERS });
  const afterMib = residentMib(pid) ?? Number.NaN;
  const after = await takeSnapshot(started, load);
  const added = callers - FIRST_CALLERS;
  const total = (sumOf(after) - sumOf(before)) / added;
  process.stdout.write(
    `${callers} callers: ${Math.round(total)} bytes of heap each; resident memory ${beforeMib.toFixed(0)} to ${afterMib.toFixed(0)} MiB\n`,
  );
  for (const { kind, bytes } of growthByKind(before, after, added).slice(0, SHOWN)) {
    process.stdout.write(`${bytes.toFixed(1).padStart(8)}  ${kind}\n`);
  }
}

/** V8 collects garbage before it writes a snapshot. */
async function takeSnapshot({ proxy, target }: StartedContestant, load: LoadProcess): Promise<HeapByKind> {
  const [pid = 0] = proxy.pids;
  const own = new RegExp(`^Heap\\..*\\.${pid}\\..*\\.heapsnapshot$`);
  const find = (): string | undefined => readdirSync(tmpdir()).find((name) => own.test(name));
  process.kill(pid, 'SIGUSR2');
  while (find() === undefined) await delay(POLL_MS);
  // The process responds only after it has written the file.
  await load.each(target);
  const file = join(tmpdir(), find() ?? '');
  try {
    return sumByKind(readFileSync(file, 'utf8'));
  } finally {
    rmSync(file);
  }
}

function sumOf(heap: HeapByKind): number {
  return [...heap.values()].reduce((sum, bytes) => sum + bytes, 0);
}
