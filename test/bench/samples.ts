import { setTimeout as delay } from 'node:timers/promises';
import { type Contestant, type Environment, type StartedContestant, startContestant } from './contestants.ts';
import type { LoadProcess } from './load-process.ts';
import type { RunningProxy } from './peers/peer.ts';
import { cpuMicroseconds, processesOf, residentMib } from './processes.ts';
import { EVENTS_PER_STREAM, PERCENTILES } from './programs/protocol.ts';

/** The figures of one contestant in one round, by their names in the report; undefined if unknown. */
export type Sample = Readonly<Record<string, number | undefined>>;

/** Requests a second of the open loop. */
const OPEN_RATE = 1000;

/** Node and V8 finish background work. */
const SETTLE_MS = 500;
/** V8 collects the garbage of a start after eight seconds without activity. */
const REST_MS = 20_000;

/** Maximum throughput, and CPU time. */
export async function sampleClosed(
  { proxy, target }: StartedContestant,
  load: LoadProcess,
  seconds: number,
): Promise<Sample> {
  await load.connect(target);
  const before = cpuOfEach(proxy);
  const result = await load.closed(target, seconds);
  const after = cpuOfEach(proxy);
  const cpu = after.map((value, i) => value - (before[i] ?? 0));
  const units = result.requests * (target.responseKind === 'events' ? EVENTS_PER_STREAM : 1);
  return {
    'per second': units / result.seconds,
    'CPU µs each': cpu.length === 0 ? undefined : sumOf(cpu) / units,
    'load CPU %': (100 * result.cpuSeconds) / result.seconds,
    'exchanges per request': result.exchanges / result.requests,
    'MiB at the end': residentOf(proxy),
  };
}

/** CPU time of each process of a proxy; empty without /proc. */
function cpuOfEach({ pid }: RunningProxy): number[] {
  return processesOf(pid).flatMap((each) => cpuMicroseconds(each) ?? []);
}

function residentOf({ pid }: RunningProxy): number | undefined {
  const each = processesOf(pid).map(residentMib);
  return each.includes(undefined) ? undefined : sumOf(each as number[]);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Latency at a rate that all proxies can serve. */
export async function sampleOpen({ target }: StartedContestant, load: LoadProcess, seconds: number): Promise<Sample> {
  const { percentilesMs, maxMs } = await load.open(target, OPEN_RATE, seconds);
  const named = PERCENTILES.map((percent, i) => [`p${percent} ms`, percentilesMs[i]] as const);
  return { ...Object.fromEntries(named), 'max ms': maxMs };
}

/** A new process: time until ready, idle memory, and the first request, without a cache. */
export async function sampleStart(contestant: Contestant, environment: Environment): Promise<Sample> {
  const { proxy, target } = await startContestant(contestant, environment);
  const cpu = cpuOfEach(proxy);
  await delay(SETTLE_MS);
  const idleMib = residentOf(proxy);
  const startedMs = performance.now();
  await environment.load.each(target);
  const firstMs = performance.now() - startedMs;
  await proxy.close();
  return {
    'ready ms': proxy.readyMs,
    'CPU ms until ready': cpu.length === 0 ? undefined : sumOf(cpu) / 1000,
    'idle MiB': idleMib,
    'first call ms': firstMs,
  };
}

/** The load of the memory case stops after this time, even on a slow machine. */
const MEMORY_LIMIT_MS = 120_000;

/** Memory during and after a long load. */
export async function sampleMemory(
  contestant: Contestant,
  environment: Environment,
  seconds: number,
  requests: number,
): Promise<Sample> {
  const { load } = environment;
  const { proxy, target } = await startContestant(contestant, environment);
  await delay(REST_MS);
  const restMib = residentOf(proxy);
  await load.each(target);
  const filledMib = residentOf(proxy);
  let sent = 0;
  let maxMib = 0;
  const endMs = performance.now() + MEMORY_LIMIT_MS;
  while (sent < requests && performance.now() < endMs) {
    sent += (await load.closed(target, seconds)).requests;
    maxMib = Math.max(maxMib, residentOf(proxy) ?? 0);
  }
  await delay(SETTLE_MS);
  const afterMib = residentOf(proxy);
  await proxy.close();
  return {
    'MiB at rest': restMib,
    'MiB with full cache': filledMib,
    'max MiB': maxMib,
    'MiB after the load': afterMib,
    requests: sent,
  };
}
