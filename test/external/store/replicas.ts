import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { openSharedCache } from '../../../src/shared-cache/shared-cache.ts';
import { configOf, type RunningApp, startTestApp, type WrittenConfig } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { startFakeUpstream, type UpstreamHandler } from '../../harness/fake-upstream.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';
import { echo } from '../../harness/upstream-handlers.ts';

/** Longer than any test. */
const MARKED_MS = 3_600_000;

/** Several cambist that share one cache, in this process. */
export interface Replicas {
  readonly apps: readonly RunningApp[];
  readonly authorizationServer: FakeAuthorizationServer;
  /** Calls a replica, and returns the status. */
  call(replica: number, token: string, headers?: Readonly<Record<string, string>>): Promise<number>;
  /** Starts one more. */
  add(): Promise<RunningApp>;
  /** Folder of the key. */
  readonly directory: string;
}

export interface ReplicaOptions {
  readonly count: number;
  /** `cache.shared`, without its key. */
  readonly shared: Readonly<Record<string, unknown>>;
  readonly handler?: UpstreamHandler;
  /** The store is marked as complete. The first replicas would otherwise wait seconds for others. */
  readonly isMarked?: boolean;
  /** Overrides keys of the route. */
  readonly route?: Readonly<Record<string, unknown>>;
  /** More routes, and keys of the config. */
  readonly more?: (authorizationServer: FakeAuthorizationServer) => {
    readonly routes?: readonly Readonly<Record<string, unknown>>[];
    readonly [key: string]: unknown;
  };
}

export async function startReplicas(t: TestContext, options: ReplicaOptions): Promise<Replicas> {
  const directory = temporaryFolder(t);
  await writeFile(join(directory, 'key'), randomBytes(32).toString('base64url'));
  const authorizationServer = await startFakeAuthorizationServer();
  t.after(authorizationServer.close);
  const upstream = await startFakeUpstream(options.handler ?? echo);
  t.after(upstream.close);
  const { routes = [], ...top } = options.more?.(authorizationServer) ?? {};
  const config = {
    ...top,
    cache: { shared: { key: { file: join(directory, 'key') }, ...options.shared } },
    authorization_servers: {
      local: {
        token_endpoint: authorizationServer.tokenEndpoint,
        client_id: 'cambist',
        client_auth: { method: 'none' },
      },
    },
    routes: [
      { name: 'github', match: { path: '/github' }, upstream: `${upstream.url}/mcp`, ...options.route },
      ...routes,
    ],
  };
  if (options.isMarked) await mark(config);
  const apps: RunningApp[] = [];
  const add = async (): Promise<RunningApp> => {
    const app = await startTestApp(t, config);
    apps.push(app);
    return app;
  };
  for (let i = 0; i < options.count; i += 1) await add();
  return {
    apps,
    authorizationServer,
    add,
    directory,
    async call(replica, token, headers = {}) {
      const response = await fetch(`${apps[replica]?.url}/github`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, ...headers },
        body: '{}',
      });
      await response.arrayBuffer();
      return response.status;
    },
  };
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
