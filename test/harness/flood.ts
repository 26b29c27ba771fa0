import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { parse } from 'yaml';
import { quantityOf } from '../../src/kubernetes/options.ts';
import type { Launch } from './cambist-process.ts';
import { deferred, eventually, soon } from './eventually.ts';
import { startFakeSetup } from './fake-setup.ts';
import { respond } from './fake-upstream.ts';
import { memoryBytes } from './process-figures.ts';

export type MemoryCgroup = NonNullable<Awaited<ReturnType<typeof createMemoryCgroup>>>;

/** The folder of the memory controller in each version of cgroups, and the file of the limit. */
const VERSIONS = [
  { root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes' },
  { root: '/sys/fs/cgroup', limit: 'memory.max' },
] as const;

/**
 * Creates a cgroup with a memory limit; undefined if this machine does not permit it. A process that writes its id to `procsFile` joins
 * it, with all its later children.
 */
export async function createMemoryCgroup(limitBytes: number) {
  for (const { root, limit } of VERSIONS) {
    const folder = join(root, `cambist-test-${process.pid}`);
    try {
      await mkdir(folder);
    } catch {
      continue;
    }
    try {
      // Fails if the controller is not delegated.
      await readFile(join(folder, limit));
      await writeFile(join(folder, limit), String(limitBytes));
      return { procsFile: join(folder, 'cgroup.procs'), remove: () => rmdir(folder) };
    } catch {
      await rmdir(folder);
    }
  }
  return undefined;
}

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

/** The memory limit of cambist in `deploy/pod.yaml`. */
const { spec } = parse(read('deploy/pod.yaml')) as {
  spec: { initContainers: { resources: { limits: { memory: string } } }[] };
};
export const POD_MEMORY_BYTES = quantityOf(spec.initContainers[0]?.resources.limits.memory ?? '') ?? Number.NaN;

/** `limits.max_in_flight` in `deploy/cambist.yaml`. */
const { limits } = parse(read('deploy/cambist.yaml')) as { limits: { max_in_flight: number } };

const DOCKERFILE = read('Dockerfile');

/** The flags of node in the image's entry point. */
export const IMAGE_NODE_FLAGS: readonly string[] = JSON.parse(
  /^ENTRYPOINT (\["node".*\])$/m.exec(DOCKERFILE)?.[1] ?? '[]',
).slice(1, -1);

/** The variables of the image, without its path. */
export const IMAGE_ENVIRONMENT: Readonly<Record<string, string>> = Object.fromEntries(
  Array.from(DOCKERFILE.matchAll(/^(?:ENV| ) +((?:NODE|MALLOC|UV)_\w+)=(\w+)/gm), ([, name, value]) => [name, value]),
);

const MIB = 1024 * 1024;

const CALLERS = limits.max_in_flight * 1.5;

/** Long enough for 1,500 connections on a busy machine. */
const FLOOD_TIMEOUT_MS = 60_000;

/** Small enough that cambist keeps the body for a retry, until the upstream responds. */
const BODY = 'x'.repeat(60 * 1024);

/**
 * Floods cambist, with the limits of `deploy`, with 1.5 times the calls that it admits at a time, while the upstream does not
 * respond. Then lets the upstream respond. Admitted calls succeed, the others get 503, and memory stays within the limit.
 * @param pidOf the process id of cambist, if the started process is another program
 */
export async function floodPod(t: TestContext, launch: Launch, pidOf?: () => Promise<number>): Promise<void> {
  const setup = await startFakeSetup(t, { launch, change: (config) => ({ ...config, limits }) });
  const pid = (await pidOf?.()) ?? setup.cambist.pid;
  const serve = respond(200, 'served');
  const headers = await setup.bearer();
  setup.upstream.handler = serve;
  assert.equal((await setup.call({ headers })).status, 200, 'the first call puts the token into the cache');
  const { promise: released, resolve: release } = deferred<void>();
  setup.upstream.handler = async (request, response) => {
    await released;
    await serve(request, response);
  };
  let finished = 0;
  const callOne = async () => {
    const { status } = await setup.call({ headers, body: BODY });
    finished += 1;
    return status;
  };
  const calls = Promise.all(Array.from({ length: CALLERS }, callOne));
  const { requests } = setup.upstream;
  const isFull = () => requests.length === 1 + limits.max_in_flight;
  await eventually('all admitted calls are at the upstream', isFull, FLOOD_TIMEOUT_MS);
  const areRefused = () => finished === CALLERS - limits.max_in_flight;
  await eventually('the other calls are refused', areRefused, FLOOD_TIMEOUT_MS);
  const flooded = await memoryBytes(pid, 'RssAnon');
  release();
  const statuses = await soon('every call has a response', calls, FLOOD_TIMEOUT_MS);
  assert.deepEqual(
    [200, 503].map((status) => statuses.filter((each) => each === status).length),
    [limits.max_in_flight, CALLERS - limits.max_in_flight],
  );
  assert.equal((await setup.call({ headers })).status, 200, 'cambist still serves');
  for (const bytes of [flooded, await memoryBytes(pid, 'RssAnon')]) {
    t.diagnostic(`${Math.round(bytes / MIB)} of ${POD_MEMORY_BYTES / MIB} MiB in use`);
    assert.ok(bytes < POD_MEMORY_BYTES, `${bytes} bytes exceed the limit of ${POD_MEMORY_BYTES}`);
  }
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
}
