import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { findLeftovers, print, streamEvents } from '../chaos/base.ts';
import { type CambistProcess, startCambist } from '../harness/cambist-process.ts';
import { type CertificateAuthority, createCertificateAuthority } from '../harness/certificates.ts';
import { secretClient, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { IMAGE_ENVIRONMENT } from '../harness/flood.ts';
import { startHttpServer } from '../harness/http-server.ts';
import { keepParts } from '../harness/lifetime.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { memoryBytes, openFiles } from '../harness/process-figures.ts';
import { createRandom } from '../harness/random.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';
import { startLoad } from './load.ts';
import { percentile, type SoakResult, type SoakSample } from './report.ts';

interface SoakOptions {
  readonly seed: number;
  readonly ms: number;
  /** Actions a second. */
  readonly rate: number;
}

const MIB = 1024 * 1024;
/** As the image in the example pod. */
const NODE_FLAGS = ['--max-old-space-size=128', '--max-semi-space-size=8'];
/** Enough for a trend, whatever the length of the run. */
const SAMPLES = 60;
/** A sample has the lowest heap of its readings: the one right after a collection. */
const READINGS = 10;
const TOKEN_SECONDS = 60;
const RELOAD_MS = 10_000;
/** Interval of the events of a stream, which lasts for ten of them. */
const EVENT_MS = 100;
const UNREAD_MS = 3000;
const RESULT = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { content: 'x'.repeat(300) } });
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** Runs the built program under a mixed load at a moderate rate, and samples it. */
export async function runSoak({ seed, ms, rate }: SoakOptions): Promise<SoakResult> {
  const lifetime = keepParts();
  const authority = createCertificateAuthority();
  const [plain, secure] = [lifetime.keep(await startBackend()), lifetime.keep(await startBackend(authority))];
  const server = await startFakeAuthorizationServer(lifetime);
  server.behaviour = () => {
    server.requests.length = 0;
    return { kind: 'issue', ttlSeconds: TOKEN_SECONDS, fields: { expires_in: TOKEN_SECONDS } };
  };
  let reloads = 0;
  const configOf = (directory: string) => soakConfig(server.issuer, [plain.url, secure.url], directory, reloads);
  const cambist = await startCambist(lifetime, {
    config: configOf,
    files: { 'client-secret': 'throwaway-secret', 'ca.pem': authority.cert },
    env: IMAGE_ENVIRONMENT,
    launch: async (configFile) => [process.execPath, ...NODE_FLAGS, BUILT_PROGRAM, 'run', '--config', configFile],
  });
  const reloading = setInterval(() => {
    reloads += 1;
    void cambist.rewriteConfig(configOf(cambist.directory));
  }, RELOAD_MS);
  try {
    await cambist.ready();
    const idleHandles = await openFiles(cambist.pid);
    const mint = (subject: string): Promise<string> => server.mint({ subject, ttlSeconds: 7200 });
    const load = await startLoad(cambist.url, createRandom(seed), rate, mint);
    const samples: SoakSample[] = [];
    const startedMs = performance.now();
    for (let i = 0; i < SAMPLES; i += 1) {
      const sample = await takeSample(cambist, ms / SAMPLES, load.takeLatencies);
      samples.push({ ...sample, hours: (performance.now() - startedMs) / 3_600_000 });
      if ((i + 1) % 10 === 0) print(`${i + 1} of ${SAMPLES} samples: ${JSON.stringify(samples.at(-1))}`);
    }
    await load.stop();
    clearInterval(reloading);
    return { samples, outcomes: load.outcomes, reloads, leftovers: await findLeft(cambist, idleHandles) };
  } finally {
    clearInterval(reloading);
    await lifetime.close();
  }
}

/** Reads several times, evenly over the interval. */
async function takeSample(cambist: CambistProcess, intervalMs: number, takeLatencies: () => number[]) {
  const readings: { rss: number; heap: number; handles: number; connections: number }[] = [];
  for (let i = 0; i < READINGS; i += 1) {
    await delay(intervalMs / READINGS);
    const text = await cambist.metrics();
    readings.push({
      rss: await memoryBytes(cambist.pid),
      heap: sumSamples(text, 'nodejs_heap_size_used_bytes') + sumSamples(text, 'nodejs_external_memory_bytes'),
      handles: await openFiles(cambist.pid),
      connections: sumSamples(text, 'cambist_connections'),
    });
  }
  const median = (values: number[]): number => percentile(values, 0.5);
  const latencies = takeLatencies();
  return {
    rssMiB: median(readings.map(({ rss }) => rss)) / MIB,
    heapMiB: Math.min(...readings.map(({ heap }) => heap)) / MIB,
    handles: median(readings.map(({ handles }) => handles)),
    connections: median(readings.map(({ connections }) => connections)),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
  };
}

async function findLeft(cambist: CambistProcess, idleHandles: number): Promise<string[]> {
  const left = await findLeftovers(cambist.metrics);
  // Idle connections to backends stay open for a while.
  const handles = await openFiles(cambist.pid);
  return handles > idleHandles + 256 ? [...left, `${handles} open files`] : left;
}

/** Each reload changes a key that keeps the cached tokens valid. */
function soakConfig(issuer: string, [url, secureUrl]: [string, string], directory: string, reloads: number) {
  const timeouts = { connect: '5s', stall: reloads % 2 === 0 ? '2s' : '3s' };
  const ca = { file: join(directory, 'ca.pem') };
  return {
    authorization_servers: { main: secretClient({ issuer }, directory) },
    // The lines would only cost time of the process that reads them.
    log: { sample: 0 },
    cache: { max_entries: 1000 },
    routes: [
      { name: 'one', match: { path: '/one' }, upstream: `${url}/one`, timeouts },
      { name: 'two', match: { path: '/two' }, upstream: `${secureUrl}/two`, tls: { ca }, timeouts },
    ],
  };
}

/** A backend that responds well. The path says how: `stream` streams events, `hold` never responds, `unread` reads late. */
function startBackend(authority?: CertificateAuthority) {
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { url = '' } = request;
    // A server of Node keeps the stream of a caller that has left until its data is read.
    if (url.includes('unread')) setTimeout(() => request.resume(), UNREAD_MS);
    else request.resume();
    if (url.includes('stream')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      streamEvents(response, EVENT_MS, 10 * EVENT_MS);
    } else if (!url.includes('hold') && !url.includes('unread')) {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': RESULT.length });
      response.end(RESULT);
    }
  };
  const upgrade = (_request: IncomingMessage, socket: Duplex): void => {
    socket.write(SWITCHED);
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('end', () => socket.end());
  };
  return startHttpServer(onRequest, { upgrade, tls: authority?.issueServer() });
}
