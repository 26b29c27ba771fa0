import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type CambistProcess, startCambist } from '../../harness/cambist-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { type CallOptions, type CallResponse, call } from '../../harness/http-call.ts';
import { createLeakWatch, type LeakWatch } from '../../harness/leaks.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';
import { echo } from '../../harness/upstream-handlers.ts';

/** Replicas of the built program, which share a store. */
export interface Fleet {
  readonly replicas: CambistProcess[];
  readonly authorizationServer: FakeAuthorizationServer;
  readonly backend: FakeUpstream;
  /** Remembers every token and secret. */
  readonly leaks: LeakWatch;
  /** Starts another replica with the same config. */
  add(): Promise<CambistProcess>;
  /** The secrets, at the same path for each replica, as in the pods of one Deployment. */
  readonly directory: string;
  /** A new caller's token. */
  newCaller(subject?: string): Promise<string>;
  /** Calls the backend through one replica. */
  call(replica: number, token: string, options?: CallOptions): Promise<CallResponse>;
  /** @throws AssertionError unless the backend got a token */
  assertServed(replica: number, token: string): Promise<void>;
  /** Exchanges so far. */
  exchanges(): number;
}

export interface FleetOptions {
  readonly replicas?: number;
  /** `cache.shared`, without `key`. A function receives the directory of the secrets. */
  readonly shared: Shared | ((directory: string) => Shared);
  /** More files in `directory`. */
  readonly files?: Readonly<Record<string, string>>;
  readonly change?: (config: FleetConfig, parts: Pick<Fleet, 'authorizationServer' | 'backend'>) => FleetConfig;
}

type Shared = Readonly<Record<string, unknown>>;

export interface FleetConfig {
  [key: string]: unknown;
  readonly routes: readonly Record<string, unknown>[];
}

/** The part of `/status.json` about the store. */
export interface StoreStatus {
  readonly available: boolean;
  readonly problem?: string | null;
}

/** The subject of all callers without another: no word of it may be in the store. */
export const SUBJECT = 'somebody-with-a-long-name@example.com';

/** A loaded machine starts several replicas slowly. */
const START_MS = 60_000;
/** A loaded machine detects a fault late. */
const FAULT_MS = 20_000;

export async function startFleet(t: TestContext, options: FleetOptions): Promise<Fleet> {
  const { shared, files = {}, change = (config) => config } = options;
  const directory = temporaryFolder(t);
  const leaks = createLeakWatch();
  const [clientSecret, key] = [randomBytes(24).toString('base64url'), randomBytes(32).toString('base64url')];
  for (const secret of [clientSecret, key, SUBJECT]) leaks.remember(secret);
  for (const [name, content] of Object.entries({ 'client-secret': clientSecret, key, ...files }))
    await writeFile(join(directory, name), content);
  const authorizationServer = await startFakeAuthorizationServer();
  t.after(authorizationServer.close);
  const backend = await startFakeUpstream(echo);
  t.after(backend.close);
  const config: FleetConfig = {
    authorization_servers: {
      local: {
        token_endpoint: authorizationServer.tokenEndpoint,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'client-secret') } },
      },
    },
    cache: {
      shared: { ...(typeof shared === 'function' ? shared(directory) : shared), key: { file: join(directory, 'key') } },
    },
    routes: [{ name: 'github', match: { path: '/github' }, upstream: `${backend.url}/mcp` }],
  };
  const replicas: CambistProcess[] = [];
  const add = async (): Promise<CambistProcess> => {
    const replica = await startCambist({
      config: change(config, { authorizationServer, backend }),
      startTimeoutMs: START_MS,
    });
    t.after(replica.close);
    await replica.ready(START_MS);
    replicas.push(replica);
    return replica;
  };
  for (let index = 0; index < (options.replicas ?? 2); index += 1) await add();
  const newCaller = async (subject = SUBJECT): Promise<string> => {
    const token = await authorizationServer.mint({ subject, claims: { jti: randomBytes(8).toString('hex') } });
    leaks.remember(token);
    return token;
  };
  const callReplica = (replica: number, token: string, more: CallOptions = {}): Promise<CallResponse> => {
    const url = replicas[replica]?.url ?? '';
    return call(`${url}/github`, {
      method: 'POST',
      body: '{}',
      ...more,
      headers: { authorization: `Bearer ${token}`, ...more.headers },
    });
  };
  return {
    replicas,
    authorizationServer,
    backend,
    leaks,
    directory,
    add,
    newCaller,
    call: callReplica,
    async assertServed(replica, token) {
      const response = await callReplica(replica, token);
      assert.equal(response.status, 200, response.text);
      const sent = backend.requests.at(-1)?.authorization[0];
      assert.ok(authorizationServer.requests.some(({ issued }) => sent === `Bearer ${issued}`));
    },
    exchanges: () => authorizationServer.requests.length,
  };
}

export async function storeStatus({ adminUrl }: CambistProcess): Promise<StoreStatus> {
  const response = await fetch(`${adminUrl}/status.json`);
  const { shared_cache: status } = (await response.json()) as { shared_cache?: StoreStatus };
  assert.ok(status, 'the status page lacks the shared cache');
  return status;
}

/** Waits until the status page and the metric say that the store is available. */
export async function waitForStore(replica: CambistProcess): Promise<void> {
  await eventually('the store is available', async () => (await storeStatus(replica)).available, FAULT_MS);
  assert.equal(await replica.metric('cambist_shared_cache_available'), 1);
}

/** Waits until the status page names this problem, and checks the metric. `act` causes requests to the store. */
export async function waitForProblem(
  replica: CambistProcess,
  expected: string,
  act: () => Promise<unknown> = async () => {},
): Promise<void> {
  let last: StoreStatus | undefined;
  const hasProblem = async (): Promise<boolean> => {
    await act();
    last = await storeStatus(replica);
    return !last.available && last.problem === expected;
  };
  await eventually(`the problem "${expected}"`, hasProblem, FAULT_MS).catch((error: Error) => {
    throw new Error(`${error.message}; the status page says ${JSON.stringify(last)}`);
  });
  assert.equal(await replica.metric('cambist_shared_cache_available'), 0);
}
