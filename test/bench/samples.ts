import { setTimeout as delay } from 'node:timers/promises';
import { type Contestant, type Entered, enter, type Ground } from './contestants.ts';
import type { FarSide } from './far-side.ts';
import { cpuMicroseconds, residentMib } from './processes.ts';
import { EVENTS_A_STREAM } from './programs/protocol.ts';

/** What one round found out about one contestant, by the name that the report gives it; undefined where it cannot be known. */
export type Sample = Readonly<Record<string, number | undefined>>;

/** Requests a second of the open loop. */
export const OPEN_RATE = 1000;

/** Garbage of the start is collected, and background work done, before memory is looked at. */
const REST_MS = 500;

/** As much as the proxy can take, and what it costs. */
export async function sampleClosed({ proxy, target }: Entered, far: FarSide, seconds: number): Promise<Sample> {
  const before = cpuMicroseconds(proxy.pid);
  const result = await far.closed(target, seconds);
  const after = cpuMicroseconds(proxy.pid);
  const units = result.requests * (target.ask === 'events' ? EVENTS_A_STREAM : 1);
  return {
    'per second': units / result.seconds,
    'CPU µs each': before === undefined || after === undefined ? undefined : (after - before) / units,
    'load busy %': (100 * result.cpuSeconds) / result.seconds,
    'exchanges each': result.exchanges / result.requests,
    'MiB after': residentMib(proxy.pid),
  };
}

/** How long an answer takes when requests come at a rate that all can carry. */
export async function sampleOpen({ target }: Entered, far: FarSide, seconds: number): Promise<Sample> {
  const { p50Ms, p99Ms, maxMs } = await far.open(target, OPEN_RATE, seconds);
  return { 'p50 ms': p50Ms, 'p99 ms': p99Ms, 'max ms': maxMs };
}

/** A new process: until it serves, what it then weighs, and its first request, which has nothing to go by. */
export async function sampleStart(contestant: Contestant, ground: Ground): Promise<Sample> {
  const { proxy, target } = await enter(contestant, ground);
  const cpu = cpuMicroseconds(proxy.pid);
  await delay(REST_MS);
  const idleMib = residentMib(proxy.pid);
  const startedMs = performance.now();
  await ground.far.each(target);
  const firstMs = performance.now() - startedMs;
  await proxy.close();
  return {
    'ready ms': proxy.readyMs,
    'CPU ms until then': cpu === undefined ? undefined : cpu / 1000,
    'idle MiB': idleMib,
    'first call ms': firstMs,
  };
}

/** A load on memory goes on for no longer than this, however slow the machine. */
const MEMORY_LIMIT_MS = 120_000;

/** Memory under a long load, after so many requests. */
export async function sampleMemory(
  contestant: Contestant,
  ground: Ground,
  seconds: number,
  requests: number,
): Promise<Sample> {
  const { far } = ground;
  const { proxy, target } = await enter(contestant, ground);
  await delay(REST_MS);
  const idleMib = residentMib(proxy.pid);
  await far.each(target);
  const filledMib = residentMib(proxy.pid);
  let sent = 0;
  let mostMib = 0;
  const endMs = performance.now() + MEMORY_LIMIT_MS;
  while (sent < requests && performance.now() < endMs) {
    sent += (await far.closed(target, seconds)).requests;
    mostMib = Math.max(mostMib, residentMib(proxy.pid) ?? 0);
  }
  await delay(REST_MS);
  const restMib = residentMib(proxy.pid);
  await proxy.close();
  return { 'idle MiB': idleMib, 'full MiB': filledMib, 'most MiB': mostMib, 'at rest MiB': restMib, requests: sent };
}
