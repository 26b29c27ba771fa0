import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import type { Launch } from './cambist-process.ts';
import { soon } from './eventually.ts';
import type { UpstreamHandler } from './fake-upstream.ts';
import { POD_MAX_IN_FLIGHT, POD_MEMORY_BYTES } from './pod-limits.ts';
import { startScene } from './scene.ts';
import { answer } from './upstream-handlers.ts';

const MIB = 1024 * 1024;

const CALLERS = POD_MAX_IN_FLIGHT * 1.5;

/** Generous: 1,500 connections take a busy machine a while. */
const FLOOD_TIMEOUT_MS = 60_000;

/** Little enough to be kept for a second try, until the upstream has answered the first. */
const BODY = 'x'.repeat(60 * 1024);

/**
 * Floods cambist, as `deploy` has it, with half as many calls again as it takes at a time, while the upstream answers none;
 * then lets go. Those that it takes are answered well, the others told to come again, and it stays within its memory.
 * @param pidOf the process of cambist itself, where that is not the one that was started
 */
export async function floodPod(t: TestContext, launch: Launch, pidOf?: () => Promise<number>): Promise<void> {
  const limits = { max_in_flight: POD_MAX_IN_FLIGHT };
  const scene = await startScene({ launch, change: (config) => ({ ...config, limits }) });
  try {
    const pid = (await pidOf?.()) ?? scene.cambist.pid;
    const answerThen = answer(200, 'served');
    const headers = await scene.bearer();
    scene.upstream.handler = answerThen;
    assert.equal((await scene.call({ headers })).status, 200, 'the token is in the cache');
    const { handler, full, release } = holdingAll(answerThen);
    scene.upstream.handler = handler;
    const turnedAway = createGate(CALLERS - POD_MAX_IN_FLIGHT);
    const callOne = async () => {
      const { status } = await scene.call({ headers, body: BODY });
      turnedAway.pass();
      return status;
    };
    const calls = Promise.all(Array.from({ length: CALLERS }, callOne));
    await soon('all that it takes are with the upstream', full, FLOOD_TIMEOUT_MS);
    await soon('the others have been answered', turnedAway.passed, FLOOD_TIMEOUT_MS);
    const flooded = await anonymousBytes(pid);
    release();
    const statuses = await soon('every call is answered', calls, FLOOD_TIMEOUT_MS);
    assert.deepEqual(
      [200, 503].map((status) => statuses.filter((each) => each === status).length),
      [POD_MAX_IN_FLIGHT, CALLERS - POD_MAX_IN_FLIGHT],
    );
    assert.equal((await scene.call({ headers })).status, 200, 'it is still there');
    for (const bytes of [flooded, await anonymousBytes(pid)]) {
      t.diagnostic(`${Math.round(bytes / MIB)} of ${POD_MEMORY_BYTES / MIB} MiB in use`);
      assert.ok(bytes < POD_MEMORY_BYTES, `${bytes} bytes are more than its ${POD_MEMORY_BYTES}`);
    }
    scene.cambist.signal('SIGTERM');
    assert.deepEqual(await scene.cambist.exit, { code: 0, signal: null });
  } finally {
    await scene.close();
  }
}

/** `passed` settles when so many have come by. */
function createGate(count: number) {
  let left = count;
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  const pass = (): void => {
    left -= 1;
    if (left === 0) open();
  };
  return { pass, passed };
}

/** Answers nobody before the test says so. */
function holdingAll(then: UpstreamHandler) {
  const arrived = createGate(POD_MAX_IN_FLIGHT);
  const released = createGate(1);
  const handler: UpstreamHandler = async (request, response) => {
    arrived.pass();
    await released.passed;
    await then(request, response);
  };
  return { handler, full: arrived.passed, release: released.pass };
}

/** Memory that cannot be given back: what a limit kills for. */
async function anonymousBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
