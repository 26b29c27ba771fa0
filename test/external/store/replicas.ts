import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { openSharedCache } from '../../../src/shared-cache/shared-cache.ts';
import { configOf, type RunningApp, startTestApp, type WrittenConfig } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import {
  type FakeAuthorizationServer,
  startFakeAuthorizationServer,
  TOKEN_TIMEOUT,
} from '../../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { type CallOptions, type CallResponse, call } from '../../harness/http-call.ts';
import { createLeakWatch } from '../../harness/leaks.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { type Labels, sumSamples } from '../../harness/metric-samples.ts';

export type Replicas = Awaited<ReturnType<typeof startReplicas>>;

type Keys = Readonly<Record<string, unknown>>;

export interface ReplicaOptions {
  readonly count?: number;
  /** The port of their store, or `cache.shared` without `key`. A function receives the directory of the secrets. */
  readonly shared: number | Keys | ((directory: string) => Keys);
  /** More files in `directory`. */
  readonly files?: Readonly<Record<string, string>>;
  /** More routes, and keys of the config. */
  readonly more?: (parts: { readonly authorizationServer: FakeAuthorizationServer }) => Keys & {
    readonly routes?: readonly Keys[];
  };
  readonly handler?: typeof echo;
  /** The store is marked as complete. The first replicas would otherwise wait seconds for others. */
  readonly isMarked?: true;
}

/** The subject of all callers without another: no word of it may be in the store. */
export const SUBJECT = 'somebody-with-a-long-name@example.com';
/** Longer than any test. */
const MARKED_MS = 3_600_000;
/** A loaded machine detects a fault late. */
const FAULT_MS = 60_000;
const AVAILABLE = 'cambist_shared_cache_available';

/** Several cambist that share one cache, in this process. */
export async function startReplicas(t: TestContext, options: ReplicaOptions) {
  const { count = 2, shared, files = {}, more, handler = echo } = options;
  const directory = temporaryFolder(t);
  const leaks = createLeakWatch();
  const [clientSecret, key] = [randomBytes(24).toString('base64url'), randomBytes(32).toString('base64url')];
  for (const secret of [clientSecret, key, SUBJECT, ...Object.values(files)]) leaks.remember(secret);
  for (const [name, content] of Object.entries({ 'client-secret': clientSecret, key, ...files }))
    await writeFile(join(directory, name), content);
  const authorizationServer = await startFakeAuthorizationServer(t);
  const backend = await startFakeUpstream(t, handler);
  const { routes = [], ...top } = more?.({ authorizationServer }) ?? {};
  const at = typeof shared === 'function' ? shared(directory) : shared;
  const store = typeof at === 'number' ? { url: `redis://127.0.0.1:${at}`, timeout: '5s' } : at;
  const config = {
    ...top,
    cache: { shared: { ...store, key: { file: join(directory, 'key') } } },
    authorization_servers: {
      local: {
        token_endpoint: authorizationServer.tokenEndpoint,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'client-secret') } },
        timeout: TOKEN_TIMEOUT,
      },
    },
    routes: [{ name: 'github', match: { path: '/github' }, upstream: `${backend.url}/mcp` }, ...routes],
  };
  if (options.isMarked) await mark(config);
  const apps: RunningApp[] = [];
  const replicas = {
    apps: apps as readonly RunningApp[],
    /** The config of each replica. */
    config: config as WrittenConfig,
    /** The secrets, at the same path for each replica, as in the pods of one Deployment. */
    directory,
    authorizationServer,
    backend,
    /** Remembers every token and secret. */
    leaks,
    /** Starts one more. */
    async add(): Promise<RunningApp> {
      const app = await startTestApp(t, config);
      apps.push(app);
      return app;
    },
    async newCaller(subject = SUBJECT): Promise<string> {
      const token = await authorizationServer.mint({ subject, claims: { jti: randomBytes(8).toString('hex') } });
      leaks.remember(token);
      return token;
    },
    call: (replica: number, token: string, { headers, ...rest }: CallOptions = {}): Promise<CallResponse> =>
      call(`${apps[replica]?.url}/github`, {
        ...{ method: 'POST', body: '{}', ...rest },
        headers: { authorization: `Bearer ${token}`, ...headers },
      }),
    logs: () => apps.map((app) => app.logText()).join('\n'),
    /** @throws AssertionError unless the backend got a token */
    async assertServed(replica: number, token: string): Promise<void> {
      const response = await replicas.call(replica, token);
      assert.equal(response.status, 200, response.text);
      const sent = backend.requests.at(-1)?.authorization[0];
      assert.ok(authorizationServer.requests.some(({ issued }) => sent === `Bearer ${issued}`));
    },
    exchanges: (): number => authorizationServer.requests.length,
    /** Serves a new caller by each replica. @returns how many exchanges that costs */
    async costOfCaller(): Promise<number> {
      const before = replicas.exchanges();
      const token = await replicas.newCaller();
      for (const replica of apps.keys()) await replicas.assertServed(replica, token);
      return replicas.exchanges() - before;
    },
  };
  for (let i = 0; i < count; i += 1) await replicas.add();
  return replicas;
}

/** Does what a replica does once it knows all revocations. */
async function mark(config: WrittenConfig): Promise<void> {
  const { shared } = configOf(config).cache;
  if (shared === undefined) throw new Error('the config has no shared cache');
  const logger = createLogger('error', process.stderr);
  const cache = await openSharedCache(shared, { clock: systemClock, logger, maxAgeMs: () => 0 });
  try {
    const untilMs = Date.now() + MARKED_MS;
    await eventually('the store is marked', async () => (await cache.records.mark(untilMs)) === 'kept');
  } finally {
    cache.close();
  }
}

/** The sum of all samples with these labels. */
export async function metricOf(app: RunningApp | undefined, name: string, labels?: Labels): Promise<number> {
  return sumSamples((await app?.metrics()) ?? '', name, labels);
}

/** The part of `/status.json` about the store. */
export async function storeStatus({ admin }: RunningApp): Promise<{ available: boolean; problem?: string | null }> {
  const { shared_cache: status } = JSON.parse((await call(`${admin}/status.json`)).text);
  assert.ok(status, 'the status page lacks the shared cache');
  return status;
}

/** Waits until the status pages and the metrics say that the store is available. */
export async function waitForStore({ apps }: Pick<Replicas, 'apps'>): Promise<void> {
  for (const app of apps) {
    const isAvailable = async () => (await storeStatus(app)).available && (await metricOf(app, AVAILABLE)) === 1;
    await eventually('the store is available', isAvailable, FAULT_MS);
  }
}

/** Waits until a caller costs one exchange. On a loaded machine, a replica may miss the time limit of the store at first. */
export async function waitUntilShared(replicas: Pick<Replicas, 'apps' | 'costOfCaller'>): Promise<void> {
  await waitForStore(replicas);
  await eventually('a caller is exchanged once', async () => (await replicas.costOfCaller()) === 1, FAULT_MS);
}

/** Waits until the status page and the metric say that the store has this problem. `act` causes requests to the store. */
export async function waitForProblem(
  app: RunningApp,
  expected: string,
  act: () => Promise<unknown> = async () => {},
): Promise<void> {
  let last: object | undefined;
  const hasProblem = async (): Promise<boolean> => {
    await act();
    const status = await storeStatus(app);
    last = status;
    return !status.available && status.problem === expected && (await metricOf(app, AVAILABLE)) === 0;
  };
  await eventually(`the problem "${expected}"`, hasProblem, FAULT_MS).catch((error: Error) => {
    throw new Error(`${error.message}; the status page says ${JSON.stringify(last)}`);
  });
}

/** The permissions of an ACL user in config/shared-cache.md. */
export function documentedRules(): string {
  const page = readFileSync('config/shared-cache.md', 'utf8');
  const [, rules = ''] = /^ACL SETUSER cambist on >PASSWORD ([^`]+)^```$/m.exec(page) ?? [];
  assert.ok(rules.includes('-@all'), 'the page has no rules');
  return rules.trim().replaceAll(/\s+/g, ' ');
}

/** `cache.shared` with the ACL user, whose password is in the file `password`, and over TLS with the CA in `ca.pem`. */
export const asUser = (port: number, directory: string, isTls = false) => ({
  url: `${isTls ? 'rediss' : 'redis'}://127.0.0.1:${port}`,
  username: 'cambist',
  password: { file: join(directory, 'password') },
  ...(isTls && { tls: { ca: { file: join(directory, 'ca.pem') } } }),
  timeout: '5s',
});
