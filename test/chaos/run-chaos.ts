import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type App, startApp } from '../../src/app.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { anyStore } from '../external/store/programs.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { serve } from '../harness/http-server.ts';
import { keepParts, type Lifetime, temporaryFolder } from '../harness/lifetime.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { createRandom, type Random } from '../harness/random.ts';
import { createCounts, DRAIN_MS, findLeftovers, print } from './base.ts';
import { createConfig, PATHS } from './configs.ts';
import { startHostileAuthorizationServer } from './hostile-authorization-server.ts';
import { startHostileBackend } from './hostile-backend.ts';
import { type Callers, createCallers } from './hostile-callers.ts';
import { type HostileStore, startHostileStore } from './hostile-store.ts';
import { type Credential, createLedger, createRotatedSecret, type Ledger, OWN_CLIENT } from './ledger.ts';

interface ChaosOptions {
  readonly seed: number;
  readonly ms: number;
}

const BACKENDS: readonly (readonly [name: string, credential: Credential, isSecure: boolean])[] = [
  ['red', 'exchange', false],
  ['blue', 'exchange', true],
  ['green', 'exchange', false],
  ['service', 'client_credentials', false],
  ['open', 'none', false],
  ['own', 'passthrough', false],
];

/** Callers that act at the same time. */
const CONCURRENT_ACTIONS = 16;
const PROGRESS_MS = 10_000;
/** Time for breakers to close after the last fault. */
const RECOVERY_MS = 60_000;

/** Lets every peer of cambist misbehave at random, checks each token that a backend gets, and that cambist recovers. */
export async function runChaos({ seed, ms }: ChaosOptions) {
  const random = createRandom(seed);
  const ledger = createLedger(random, () => performance.now());
  const lifetime = keepParts();
  const participants = await startParticipants(lifetime, random, ledger);
  const { apps, backends, authorizationServer, parts, clock, store, rotateSecret } = participants;
  const { outcomes, count } = createCounts();
  const urls = apps.map(({ listen }) => listen);
  const callers = createCallers(urls, random, ledger, parts.tunnel, count);
  const onError = (error: unknown): void =>
    ledger.report(`unhandled: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);
  const endMs = performance.now() + ms;
  const isOver = (): boolean => performance.now() > endMs || ledger.violations.length > 0;
  let reloads = 0;
  let hits = 0;

  const misbehave = (does: boolean): void => {
    authorizationServer.misbehaves = does;
    for (const backend of backends) backend.misbehaves = does;
    if (store !== undefined) store.misbehaves = does;
  };
  /** Storms and calms take turns, so that breakers open and close. */
  const weather = async (): Promise<void> => {
    while (!isOver()) {
      misbehave(random.chance(0.6));
      clock.jump(random.chance(0.5) ? 0 : random.pick([-86_400_000, -60_000, 20_000, 3_600_000]));
      await delay(200 + random.int(2000));
    }
  };
  const reloading = async (): Promise<void> => {
    while (!isOver()) {
      await delay(random.int(1500));
      const config = createConfig(parts, random);
      // Sometimes one replica has a new config before the other, or keeps it for itself.
      for (const app of random.chance(0.7) ? apps : [random.pick(apps)]) {
        app.reload(config);
        if (random.chance(0.1)) app.reopenFiles();
      }
      reloads += 1;
      if (random.chance(0.1)) await rotateSecret();
    }
  };
  const acting = async (): Promise<void> => {
    while (!isOver()) await callers.act();
  };
  const reporting = setInterval(
    () => print(`${Math.round((endMs - performance.now()) / 1000)} s left, ${ledger.correct} right tokens`),
    PROGRESS_MS,
  );
  try {
    await Promise.all([weather(), reloading(), ...Array.from({ length: CONCURRENT_ACTIONS }, acting)]);
    misbehave(false);
    clock.jump(0);
    for (const app of apps) app.reload(createConfig(parts, random, false));
    await checkRecovery(callers, urls, ledger);
    callers.close();
    if (store !== undefined) hits = await countHits(apps);
    for (const app of apps) await checkEnds(app, ledger);
  } finally {
    clearInterval(reporting);
    await lifetime.close();
    process.off('uncaughtException', onError);
    process.off('unhandledRejection', onError);
  }
  return {
    violations: ledger.violations,
    /** Right tokens that backends received. */
    correct: ledger.correct,
    issued: authorizationServer.issued,
    reloads,
    /** Undefined where this machine has no store. */
    store: store && { faults: store.faults, forged: store.forged, hits },
    outcomes,
  };
}

/** Every caller reaches every backend through every replica again, once breakers have closed. */
async function checkRecovery(callers: Callers, urls: readonly string[], ledger: Ledger): Promise<void> {
  for (const url of urls) {
    for (const path of PATHS) {
      for (const caller of callers.all) {
        let status = 0;
        const isOk = async (): Promise<boolean> => {
          status = await callers.ask(caller, path, url);
          return status === 200;
        };
        await eventually('recovery', isOk, RECOVERY_MS).catch(() =>
          ledger.report(`${caller.name} still gets ${status} on ${path} after all faults ended`),
        );
      }
    }
  }
}

async function countHits(apps: readonly App[]): Promise<number> {
  const texts = await Promise.all(apps.map(async ({ admin }) => (await fetch(`${admin}/metrics`)).text()));
  const found = texts.map((text) => sumSamples(text, 'cambist_shared_cache_operations_total', { result: 'hit' }));
  return found.reduce((sum, hits) => sum + hits, 0);
}

/** With no caller left, nothing is in flight, no connection is open, and a stop has nothing to wait for. */
async function checkEnds(app: App, ledger: Ledger): Promise<void> {
  const metrics = async () => (await fetch(`${app.admin}/metrics`)).text();
  for (const left of await findLeftovers(metrics)) ledger.report(`after the last caller has left: ${left}`);
  ledger.checkText('/metrics', await metrics());
  await soon('the stop', app.stop(), DRAIN_MS).catch((error: Error) => ledger.report(error.message));
}

async function startParticipants(t: Lifetime, random: Random, ledger: Ledger) {
  const directory = temporaryFolder(t);
  const authority = createCertificateAuthority();
  const caFile = join(directory, 'ca.pem');
  await writeFile(caFile, authority.cert);
  const clientSecret = join(directory, 'client-secret');
  const secrets = createRotatedSecret(clientSecret, ledger);
  await secrets.rotate();
  const backends = await Promise.all(
    BACKENDS.map(([name, credential, isSecure]) =>
      startHostileBackend(t, { name, credential }, random, ledger, isSecure ? authority : undefined),
    ),
  );
  const named = new Map(backends.map(({ url, name }) => [url, name]));
  const authorizationServer = await startHostileAuthorizationServer(t, random, ledger, named, secrets.check);
  const port = await startTunnelEnd(t, random);
  const { tokenEndpoint } = authorizationServer;
  const programs = anyStore();
  const store = programs && (await startHostileStore(t, programs, random));
  const shared = store && (await sharedCache(store, directory, ledger));
  const parts = { tokenEndpoint, clientSecret, backends, caFile, tunnel: `localhost:${port}`, shared };
  // Before the start, so that no part of the app keeps a clock that does not jump.
  const clock = skewClock();
  t.after(clock.restore);
  const logger = createLogger('debug', { write: (line: string) => ledger.checkText('the log', line) });
  const startReplica = (): Promise<App> => startApp(createConfig(parts, random), 'chaos', logger);
  const apps = [await startReplica(), await startReplica()];
  t.after(() => Promise.all(apps.map((app) => app.stop(AbortSignal.abort()))));
  return { apps, store, backends, authorizationServer, parts, clock, rotateSecret: secrets.rotate };
}

/** `cache.shared` with a key, which no text may contain. */
async function sharedCache({ port }: HostileStore, directory: string, ledger: Ledger): Promise<object> {
  const key = join(directory, 'shared-cache-key');
  await writeFile(key, ledger.create({ kind: 'secret', owner: OWN_CLIENT }));
  // A busy machine must not make the store count as slow all the time.
  return { url: `redis://127.0.0.1:${port}`, key: { file: key }, timeout: '500ms' };
}

/** Echoes, ends or breaks off. */
async function startTunnelEnd(t: Lifetime, random: Random): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const kind = random.int(4);
    if (kind === 0) return void socket.resetAndDestroy();
    if (kind === 1) return void socket.end('bye').resume();
    if (kind === 2) setTimeout(() => socket.destroy(), 300);
    socket.pipe(socket);
  });
  return (await serve(t, server)).port;
}

/** Replaces `Date.now`. The monotonic clock stays right, as on a machine whose clock is set. */
function skewClock() {
  const original = Date.now;
  let offsetMs = 0;
  Date.now = () => original() + offsetMs;
  return {
    jump(next: number): void {
      offsetMs = next;
    },
    restore(): void {
      Date.now = original;
    },
  };
}
