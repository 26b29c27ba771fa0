import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { spreadOf } from '../../bench/statistics.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { sendResponse } from '../../harness/fake-authorization-server.ts';
import { cgroupOf, peakOf } from './containers.ts';
import { github, idp, ledger, node, run } from './node.ts';
import { createNamespace, inject, nodePod, sidecarConfig, statusOf, waitUntilReady } from './pods.ts';

/** `npm run resources`: measures memory and CPU of sidecars as the kubelet counts them. Prints the tables of deploy/resources.md. */

const NAMESPACE = 'resources';
const CONFIG = sidecarConfig({
  limits: { max_in_flight: 1000 },
  routes: ['github', 'ledger'].map((name) => ({
    name,
    match: { path: `/${name}` },
    upstream: `https://${name}-mcp.example.com/mcp`,
  })),
});
const LOAD = readFileSync(join(import.meta.dirname, 'load.mjs'), 'utf8');
const FURTHER_PODS = 5;
const STARTS = 3;
/** V8 frees the garbage of a start after eight seconds without a request. */
const REST_MS = 20_000;
const START_LIMIT_MS = 60_000;

interface Load {
  readonly calls: number;
  readonly parallel: number;
  readonly kib: number;
  readonly callers?: number;
  /** The backends finish their responses when all calls have arrived. They send the headers of a stream at once. */
  readonly held?: 'responses' | 'streams';
}

const SMALL: Load = { calls: 3600, parallel: 10, kib: 1 };
const LARGE: Load = { calls: 3600, parallel: 90, kib: 60 };
const LOADS: Readonly<Record<string, Load>> = {
  '50 calls at a time, with 1 KiB each': { calls: 20_000, parallel: 50, kib: 1 },
  'the same from 5,000 callers': { calls: 20_000, parallel: 50, kib: 1, callers: 5000 },
  '90 calls at a time, with 60 KiB each': LARGE,
  '1,000 calls in flight, with 1 KiB each': { calls: 1000, parallel: 1000, kib: 1, held: 'responses' },
  '500 calls in flight, with 60 KiB each': { calls: 500, parallel: 500, kib: 60, held: 'responses' },
  '1,000 calls in flight, with 60 KiB each': { calls: 1000, parallel: 1000, kib: 60, held: 'responses' },
  '1,000 open streams': { calls: 1000, parallel: 1000, kib: 1, held: 'streams' },
};

test('measures sidecars on a node', async (t) => {
  await createNamespace(t, NAMESPACE);
  for (const measure of [atRest, underLoad, memoryLimits, startTimes]) await t.test(measure.name, measure);
});

async function atRest(): Promise<void> {
  const names = ['first', ...Array.from({ length: FURTHER_PODS }, (_, index) => `further-${index}`)];
  for (const name of names) await start(name);
  const groups = await Promise.all(names.map(groupOf));
  await delay(REST_MS);
  const before = groups.map((group) => group.cpuMs());
  await delay(REST_MS);
  const [first = 0, ...further] = groups.map((group) => group.workingSetMiB());
  const milliCpu = groups.map((group, index) => (1000 * (group.cpuMs() - (before[index] ?? 0))) / REST_MS);
  for (const name of names) await remove(name);
  print('at rest', 'working set, MiB', 'CPU, m');
  print('---', '--:', '--:');
  print('the first pod on the node', first, milliCpu[0] ?? 0);
  print('each further pod', spreadOf(further).median, spreadOf(milliCpu).median);
}

async function underLoad(): Promise<void> {
  print('under load', 'working set at most, MiB', 'CPU of a call, µs', 'responses');
  print('---', '--:', '--:', '---');
  for (const [what, load] of Object.entries(LOADS)) {
    await start('loaded');
    const group = await groupOf('loaded');
    const before = group.cpuMs();
    let statuses = '';
    const peak = await peakOf(group, async () => {
      statuses = await send(load, 'loaded');
    });
    const { restartCount, lastState } = await statusOf(NAMESPACE, 'loaded', 'cambist');
    if (restartCount > 0) print(what, peak, lastState.terminated?.reason ?? '', statuses);
    else print(what, peak, (1000 * (group.cpuMs() - before)) / load.calls, statuses);
    await remove('loaded');
  }
  await start('loaded');
  const group = await groupOf('loaded');
  await delay(REST_MS);
  const [rest, cpu] = [group.workingSetMiB(), group.cpuMs()];
  const doctor = `kubectl -n ${NAMESPACE} exec -i loaded -c cambist -- node /app/dist/main.js doctor --subject-token-file -`;
  const token = await idp.mint();
  const peak = await peakOf(group, () => run(`${doctor} <<<'${token}'`));
  print('`doctor` by `kubectl exec`, in addition', peak - rest, 1000 * (group.cpuMs() - cpu), '');
  await remove('loaded');
}

async function startTimes(): Promise<void> {
  print('CPU limit', 'seconds until the agent starts');
  print('---', '--:');
  for (const limit of ['50m', '100m', '200m', '500m', 'none']) {
    const seconds: number[] = [];
    for (let count = 0; count < STARTS; count += 1) {
      await start('started', `--cpu-limit ${limit}`);
      const agent = await cgroupOf(NAMESPACE, 'started', 'agent');
      seconds.push((agent.startedMs() - (await groupOf('started')).startedMs()) / 1000);
      await remove('started');
    }
    print(limit, spreadOf(seconds).median);
  }
}

async function memoryLimits(): Promise<void> {
  print('memory limit', '10 calls at a time, with 1 KiB each', '90 calls at a time, with 60 KiB each');
  print('---', '---', '---');
  for (const limit of ['24Mi', '32Mi', '40Mi', '48Mi', '56Mi', '64Mi', '96Mi', '128Mi']) {
    const outcomes: string[] = [];
    for (const load of [SMALL, LARGE]) {
      outcomes.push(await outcomeWith(limit, load));
      await remove('limited');
    }
    print(limit, ...outcomes);
  }
}

async function outcomeWith(limit: string, load: Load): Promise<string> {
  await inject(NAMESPACE, nodePod('limited', { namespace: NAMESPACE }), CONFIG, `--memory-limit ${limit}`);
  const restarts = async () => (await statusOf(NAMESPACE, 'limited', 'cambist')).restartCount ?? 0;
  let isReady = false;
  const settled = async () => {
    isReady = (await statusOf(NAMESPACE, 'limited', 'agent')).ready === true;
    return isReady || (await restarts()) > 0;
  };
  try {
    await eventually('the sidecar is ready, or was killed', settled, START_LIMIT_MS, 500);
  } catch {
    return 'does not start';
  }
  if (!isReady) return 'is killed at its start';
  const statuses = await send(load, 'limited');
  return statuses === JSON.stringify({ 200: load.calls }) ? 'serves' : `is killed under load: ${statuses}`;
}

/** Sends calls from the agent's container. @returns how often each status came, as JSON */
async function send({ calls, parallel, kib, callers = 1, held }: Load, pod: string): Promise<string> {
  const all = deferred<void>();
  let arrived = 0;
  for (const backend of [github, ledger]) {
    backend.handler = async ({ message }, response) => {
      for await (const _ of message);
      arrived += 1;
      if (held === 'streams') response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
      if (held !== undefined) await all.promise;
      if (response.headersSent) response.end();
      else sendResponse(response, 200, { result: 'x'.repeat(1024) });
    };
  }
  const tokens = await Promise.all(
    Array.from({ length: callers }, (_, index) => idp.mint({ subject: `user-${index}` })),
  );
  await node.write('tokens', tokens.join('\n'));
  await node.write('load.mjs', LOAD);
  const arguments_ = `${calls} ${parallel} ${1024 * kib}`;
  const done = run(
    `kubectl -n resources exec -i ${pod} -c agent -- node --input-type=module -e "$(cat load.mjs)" ${arguments_} <tokens`,
  );
  if (held !== undefined) {
    const isKilled = async () => (await statusOf(NAMESPACE, pod, 'cambist')).restartCount > 0;
    const settled = async () => arrived === calls || (await isKilled());
    await eventually('all calls have arrived', settled, START_LIMIT_MS, 500);
    all.resolve();
  }
  const statuses = (await done).trim();
  for (const { requests } of [github, ledger, idp]) requests.length = 0;
  return statuses;
}

function groupOf(pod: string) {
  return cgroupOf(NAMESPACE, pod, 'cambist');
}

async function start(name: string, flags = ''): Promise<void> {
  await inject(NAMESPACE, nodePod(name, { namespace: NAMESPACE }), CONFIG, flags);
  await waitUntilReady(NAMESPACE, name);
}

async function remove(name: string): Promise<void> {
  await run(`kubectl -n ${NAMESPACE} delete pod ${name} --grace-period=1`);
}

/** Prints a row of a Markdown table. */
function print(...cells: readonly (string | number)[]): void {
  console.log(`| ${cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(1) : cell)).join(' | ')} |`);
}
