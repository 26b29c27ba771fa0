import { writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type FakeSetup, startFakeSetup } from '../../harness/fake-setup.ts';
import { type Load, startLoad } from './load.ts';
import { monitoredPort, podAddress } from './pod-monitor.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import { readRuleGroups } from './rules.ts';

/** cambist under load, and a Prometheus that scrapes it as in a cluster. */
export interface WatchedSetup {
  readonly setup: FakeSetup;
  readonly load: Load;
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
  const setup = await startFakeSetup({
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
  t.after(setup.close);
  const load = await startLoad(setup);
  t.after(load.stop);
  const prometheus = await startPrometheus({ groups: readRuleGroups(), monitored, address });
  t.after(prometheus.close);
  return {
    setup,
    load,
    prometheus,
    renewActorToken: async (ttlSeconds) => {
      const draft = join(setup.cambist.directory, '.actor-token');
      await writeFile(draft, await setup.authorizationServer.mint({ subject: 'agent', ttlSeconds }));
      await rename(draft, join(setup.cambist.directory, ACTOR_FILE));
    },
  };
}
