import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';

/** Each proxy has the first core to itself; whatever calls it, whatever it calls, and who reads its output have the second. */
export type Side = 'proxy' | 'far';

const NANOSECONDS_A_MICROSECOND = 1000;
const KIB_A_MIB = 1024;

const cores = hasTaskset() ? allowedCores() : [];

/** Undefined where there is no `taskset`, or no second core. */
export const pinning = cores.length < 2 ? undefined : { proxy: cores[0] as number, far: cores[1] as number };

/** Puts this process on the far side, too: it reads the proxies' output, and would else take their core for it. */
export function pinSelf(): void {
  if (pinning === undefined) return;
  spawnSync('taskset', ['-acp', String(pinning.far), String(process.pid)], { stdio: 'ignore' });
}

export function startPinned(
  side: Side,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  if (pinning === undefined) return spawn(command, args, options);
  return spawn('taskset', ['-c', String(pinning[side]), command, ...args], options);
}

/**
 * Processor time of a process and its children since they began; undefined where there is no /proc. Of all counts that the
 * kernel keeps this is the finest, and it leaves out threads that have ended, of which proxies have none.
 */
export function cpuMicroseconds(pid: number): number | undefined {
  try {
    const own = readdirSync(`/proc/${pid}/task`)
      .map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]))
      .reduce((sum, nanoseconds) => sum + nanoseconds / NANOSECONDS_A_MICROSECOND, 0);
    return childrenOf(pid).reduce((sum, child) => sum + (cpuMicroseconds(child) ?? 0), own);
  } catch {
    return undefined;
  }
}

/** Resident memory of a process and its children; pages that they share count more than once. */
export function residentMib(pid: number): number | undefined {
  try {
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return childrenOf(pid).reduce((sum, child) => sum + (residentMib(child) ?? 0), Number(kib) / KIB_A_MIB);
  } catch {
    return undefined;
  }
}

function childrenOf(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
}

export function has(command: string): boolean {
  return spawnSync(command, ['-v'], { stdio: 'ignore' }).error === undefined;
}

function hasTaskset(): boolean {
  return process.platform === 'linux' && spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status === 0;
}

function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    if (first === undefined || last === undefined) return [];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** What the figures were taken on. */
export interface Machine {
  readonly date: string;
  readonly node: string;
  readonly os: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly pinned: boolean;
}

/** @throws Error where `node` is none */
export function describeMachine(node: string): Machine {
  const { stdout, status } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`"${node}" is no Node that can be run`);
  return {
    date: new Date().toISOString().slice(0, 10),
    node: stdout.trim(),
    os: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    pinned: pinning !== undefined,
  };
}
