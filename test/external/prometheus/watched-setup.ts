import { writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type FakeSetup, startFakeSetup } from '../../harness/fake-setup.ts';
import { monitoredPort, podAddress } from './pod-monitor.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import { readRuleGroups } from './rules.ts';

/** cambist under load, and a Prometheus that scrapes it as in a cluster. */
export interface WatchedSetup {
  readonly setup: FakeSetup;
  readonly prometheus: Prometheus;
  /** Replaces the route's actor token by one with this lifetime. */
  renewActorToken(ttlSeconds: number): Promise<void>;
}

const ACTOR_FILE = 'actor-token';
const HOUR_SECONDS = 3600;

/** Starts both, and stops them after the test. */
export async function startWatchedSetup(t: TestContext): Promise<WatchedSetup> {
  const monitored = monitoredPort();
  const address = podAddress();
  let actorToken = '';
  const setup = await startFakeSetup(t, {
    prepare: async ({ authorizationServer }) => {
      actorToken = await authorizationServer.mint({ subject: 'agent', ttlSeconds: HOUR_SECONDS });
    },
    change: (config, { directory }) => {
      const file = join(directory, ACTOR_FILE);
      writeFileSync(file, actorToken);
      return {
        ...config,
        admin: `${address}:${monitored.port}`,
        forward_proxy: { connect: ['api.example.com:443'] },
        routes: config.routes.map((route) => ({ ...route, actor_token: { file, type: 'jwt' } })),
      };
    },
  });
  t.after(await startLoad(setup));
  const prometheus = await startPrometheus(readRuleGroups(), monitored, address);
  t.after(prometheus.close);
  return {
    setup,
    prometheus,
    renewActorToken: async (ttlSeconds) => {
      const draft = join(setup.cambist.directory, '.actor-token');
      await writeFile(draft, await setup.authorizationServer.mint({ subject: 'agent', ttlSeconds }));
      await rename(draft, join(setup.cambist.directory, ACTOR_FILE));
    },
  };
}

const PAUSE_MS = 100;
/** One request in this many has a new token, which costs an exchange. */
const NEWCOMER_EVERY = 4;
/** Stops a forgotten load after five minutes. */
const MAX_REQUESTS = 3_000;

/**
 * Sends ten requests a second, whatever the responses are: from a caller whose token the cache has, and from new callers.
 * @returns stops them, and waits for the requests in flight
 */
async function startLoad(setup: FakeSetup): Promise<() => Promise<void>> {
  const regular = await setup.bearer({ ttlSeconds: 3600 });
  const underWay = new Set<Promise<unknown>>();
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    if (sent > MAX_REQUESTS) clearInterval(timer);
    const request = send(sent % NEWCOMER_EVERY === 0).catch(() => undefined);
    underWay.add(request);
    void request.finally(() => underWay.delete(request));
  }, PAUSE_MS);

  async function send(isNewcomer: boolean): Promise<void> {
    const headers = isNewcomer ? await setup.bearer({ subject: `caller-${sent}` }) : regular;
    await setup.call({ headers, body: '{}' });
  }

  return async () => {
    clearInterval(timer);
    await Promise.all(underWay);
  };
}
