import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { parse } from 'yaml';
import { quantityOf } from '../../src/kubernetes/options.ts';
import type { Launch } from './cambist-process.ts';
import { deferred, soon } from './eventually.ts';
import { startFakeSetup } from './fake-setup.ts';
import { respond, type UpstreamHandler } from './fake-upstream.ts';

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

interface ExamplePod {
  spec: { initContainers: { resources: { limits: { memory: string } } }[] };
}

/** The memory limit of cambist in `deploy/pod.yaml`. */
export const POD_MEMORY_BYTES = memoryOf(parse(read('deploy/pod.yaml')) as ExamplePod);

/** `limits.max_in_flight` in `deploy/cambist.yaml`. */
const POD_MAX_IN_FLIGHT = maxInFlightOf(read('deploy/cambist.yaml'));

/** The flags of node in the image's entry point. */
export const IMAGE_NODE_FLAGS: readonly string[] = nodeFlagsOf(read('Dockerfile'));

function memoryOf({ spec }: ExamplePod): number {
  const bytes = quantityOf(spec.initContainers[0]?.resources.limits.memory ?? '');
  if (bytes === undefined) throw new Error('deploy/pod.yaml has no memory limit');
  return bytes;
}

function maxInFlightOf(text: string): number {
  const { limits } = parse(text) as { limits: { max_in_flight: number } };
  return limits.max_in_flight;
}

function nodeFlagsOf(dockerfile: string): string[] {
  const [, list = ''] = /^ENTRYPOINT (\["node".*\])$/m.exec(dockerfile) ?? [];
  return (JSON.parse(list) as string[]).slice(1, -1);
}

const MIB = 1024 * 1024;

const CALLERS = POD_MAX_IN_FLIGHT * 1.5;

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
  const limits = { max_in_flight: POD_MAX_IN_FLIGHT };
  const setup = await startFakeSetup(t, { launch, change: (config) => ({ ...config, limits }) });
  const pid = (await pidOf?.()) ?? setup.cambist.pid;
  const serve = respond(200, 'served');
  const headers = await setup.bearer();
  setup.upstream.handler = serve;
  assert.equal((await setup.call({ headers })).status, 200, 'the first call puts the token into the cache');
  const { handler, full, release } = holdUntilRelease(serve);
  setup.upstream.handler = handler;
  const refused = createGate(CALLERS - POD_MAX_IN_FLIGHT);
  const callOne = async () => {
    const { status } = await setup.call({ headers, body: BODY });
    refused.pass();
    return status;
  };
  const calls = Promise.all(Array.from({ length: CALLERS }, callOne));
  await soon('all admitted calls are at the upstream', full, FLOOD_TIMEOUT_MS);
  await soon('the other calls are refused', refused.passed, FLOOD_TIMEOUT_MS);
  const flooded = await anonymousBytes(pid);
  release();
  const statuses = await soon('every call has a response', calls, FLOOD_TIMEOUT_MS);
  assert.deepEqual(
    [200, 503].map((status) => statuses.filter((each) => each === status).length),
    [POD_MAX_IN_FLIGHT, CALLERS - POD_MAX_IN_FLIGHT],
  );
  assert.equal((await setup.call({ headers })).status, 200, 'cambist still serves');
  for (const bytes of [flooded, await anonymousBytes(pid)]) {
    t.diagnostic(`${Math.round(bytes / MIB)} of ${POD_MEMORY_BYTES / MIB} MiB in use`);
    assert.ok(bytes < POD_MEMORY_BYTES, `${bytes} bytes exceed the limit of ${POD_MEMORY_BYTES}`);
  }
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
}

/** `passed` settles after `count` calls of `pass`. */
function createGate(count: number) {
  let left = count;
  const { promise: passed, resolve: open } = deferred<void>();
  const pass = (): void => {
    left -= 1;
    if (left === 0) open();
  };
  return { pass, passed };
}

/** Delays all responses until `release`. */
function holdUntilRelease(then: UpstreamHandler) {
  const arrived = createGate(POD_MAX_IN_FLIGHT);
  const released = createGate(1);
  const handler: UpstreamHandler = async (request, response) => {
    arrived.pass();
    await released.passed;
    await then(request, response);
  };
  return { handler, full: arrived.passed, release: released.pass };
}

/** Memory that the kernel cannot reclaim. The OOM killer counts it. */
async function anonymousBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
