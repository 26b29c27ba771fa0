import { eventually } from '../../harness/eventually.ts';
import type { Lifetime } from '../../harness/lifetime.ts';
import { type StoreProcess, startStore } from './store-process.ts';

const NAME = 'cambist';
const SENTINELS = 3;
const QUORUM = 2;
/** Short: a test waits for it. */
const DOWN_AFTER_MS = 500;
const FAILOVER_MS = 60_000;

/** Two servers, one of which is the other's replica, and sentinels that watch them. */
export async function startSentinel(t: Lifetime) {
  const first = await startStore(t);
  const servers = [first, await startStore(t, { config: [`replicaof 127.0.0.1 ${first.port}`] })];
  await eventually('the replica follows', () => isFollowed(first), FAILOVER_MS);
  const config = [
    `sentinel monitor ${NAME} 127.0.0.1 ${first.port} ${QUORUM}`,
    `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${NAME} 3000`,
  ];
  const sentinels = await Promise.all(
    Array.from({ length: SENTINELS }, () => startStore(t, { isSentinel: true, config })),
  );
  const primaryPort = async (sentinel: StoreProcess): Promise<number> =>
    Number((await sentinel.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)).split('\n')[1]);
  /** The server to which the sentinels send clients. */
  const primary = async (): Promise<StoreProcess> => {
    const port = await primaryPort(sentinels[0] as StoreProcess);
    return servers.find((server) => server.port === port) ?? first;
  };
  await eventually('the sentinels know each other', () => areReady(sentinels), FAILOVER_MS);
  /** Ends the primary by SIGKILL, and waits until the other server has taken over. */
  const failOver = async (): Promise<void> => {
    const old = await primary();
    await old.kill();
    await eventually(
      'every sentinel names the other server',
      async () => (await Promise.all(sentinels.map(primaryPort))).every((port) => port !== old.port),
      FAILOVER_MS,
    );
  };
  /** `cache.shared` of replicas. */
  const shared = { sentinel: { name: NAME, hosts: sentinels.map(({ port }) => `127.0.0.1:${port}`) }, timeout: '5s' };
  return { servers, shared, primary, failOver };
}

async function isFollowed(primary: StoreProcess): Promise<boolean> {
  return (await primary.ask('INFO', 'replication')).includes('state=online');
}

/** Without the others and the replica, no failover succeeds. */
async function areReady(sentinels: readonly StoreProcess[]): Promise<boolean> {
  const states = await Promise.all(sentinels.map((sentinel) => sentinel.ask('INFO', 'sentinel')));
  return states.every((state) => state.includes(`slaves=1,sentinels=${SENTINELS}`));
}
