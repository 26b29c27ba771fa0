import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

/** The proxy has the first core. The load process and the bench, which reads the proxy's output, have the second. */
export type Side = 'proxy' | 'load';

const NANOSECONDS_PER_MICROSECOND = 1000;
const KIB_PER_MIB = 1024;

const cores = hasTaskset() ? allowedCores() : [];

/** The cores of the proxy and the load. Undefined without `taskset` or a second core. */
export const pinning = cores.length < 2 ? undefined : { proxy: String(cores[0]), load: String(cores[1]) };

/** Moves this process to the core of the load process. It reads the proxies' output, and must not use their core. */
export function pinSelf(): void {
  if (pinning === undefined) return;
  spawnSync('taskset', ['-acp', pinning.load, String(process.pid)], { stdio: 'ignore' });
}

export function startPinned(
  side: Side,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  if (pinning === undefined) return spawn(command, args, options);
  return spawn('taskset', ['-c', pinning[side], command, ...args], options);
}

/** Uses a core for as long as the parent lives. */
const BUSY = 'const parent = process.ppid; while (process.ppid === parent) for (let i = 0; i < 1e6; i++);';

/**
 * Starts a process on each core that runs only where nothing else does, by the kernel's idle class. In a virtual machine, waking a
 * halted core can take as long as a whole call, and counts as CPU of the proxy that sends to it.
 * @returns a function that ends these processes. They also end with the bench
 */
export function keepCoresAwake(): () => void {
  if (pinning === undefined || !has('chrt')) return () => undefined;
  const busy = [pinning.proxy, pinning.load].map((core) =>
    spawn('taskset', ['-c', core, 'chrt', '--idle', '0', process.execPath, '--eval', BUSY], { stdio: 'ignore' }),
  );
  return () => {
    for (const child of busy) child.kill();
  };
}

/** A process and its children, such as the workers of nginx or of Node's cluster. Without /proc, it alone. */
export function processesOf(pid: number): number[] {
  try {
    return [pid, ...childrenOf(pid).flatMap(processesOf)];
  } catch {
    return [pid];
  }
}

/**
 * CPU time of a process since its start; undefined without /proc. `schedstat` is the kernel's most precise count. It omits exited
 * threads, but proxies have none.
 */
export function cpuMicroseconds(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]))
      .reduce((sum, nanoseconds) => sum + nanoseconds / NANOSECONDS_PER_MICROSECOND, 0);
  } catch {
    return undefined;
  }
}

/** Resident memory of a process. Pages that it shares with others count for each. */
export function residentMib(pid: number): number | undefined {
  try {
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return kib === undefined ? undefined : Number(kib) / KIB_PER_MIB;
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

/** The machine that produced the figures. */
export type Machine = ReturnType<typeof describeMachine>;

/** @throws Error if `node` cannot run */
export function describeMachine(node: string) {
  const { stdout, status } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cannot run "${node}": use the path of a Node executable`);
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

/** Below `node_modules`, so that programs find their packages. */
const BUILT = new URL('../../node_modules/.cache/cambist-bench/', import.meta.url);
const SOURCES = new URL('./programs/', import.meta.url);

/**
 * Builds the programs, so that they run on Node without a loader, like cambist. A loader would add memory and start time.
 * Packages are not bundled, as in a program that follows their READMEs.
 * @throws Error if a program cannot be built
 */
export function buildPrograms(): void {
  buildSync({
    entryPoints: PROGRAMS.map((name) => fileURLToPath(new URL(`${name}.ts`, SOURCES))),
    outdir: fileURLToPath(BUILT),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outExtension: { '.js': '.mjs' },
  });
}

const PROGRAMS = ['load-process', 'undici-proxy', 'fastify-proxy'] as const;

export type ProgramName = (typeof PROGRAMS)[number];

export function programFile(name: ProgramName): string {
  return fileURLToPath(new URL(`${name}.mjs`, BUILT));
}
