import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/http-server.ts';
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

const SERVERS = 3;
const SLOTS = 16_384;
const START_MS = 120_000;

/** Starts a cluster. `moveSlots` moves slots from the first server to the second while the cluster serves. */
export async function startCluster(t: Lifetime) {
  const servers: StoreProcess[] = [];
  for (let index = 0; index < SERVERS; index += 1) {
    // The default port of the cluster, ten thousand above the server's, is often no port.
    const config = ['cluster-enabled yes', 'cluster-config-file nodes.conf', `cluster-port ${await freePort()}`];
    servers.push(await startStore(t, { config }));
  }
  await join(servers);
  /** `cache.shared` of replicas, which finds the other server by itself. */
  const shared = { cluster: servers.slice(0, 2).map(({ port }) => `127.0.0.1:${port}`), timeout: '5s' };
  return { servers, shared, moveSlots: (count: number) => moveSlots(servers, count) };
}

async function join(servers: readonly StoreProcess[]): Promise<void> {
  const [first, ...others] = servers as [StoreProcess, ...StoreProcess[]];
  for (const [index, server] of servers.entries()) {
    const [from, to] = [index, index + 1].map((part) => Math.floor((SLOTS * part) / SERVERS)) as [number, number];
    await server.ask('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to - 1));
    await server.ask('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
  }
  for (const server of others)
    await first.ask('CLUSTER', 'MEET', '127.0.0.1', String(server.port), await busPort(server));
  await eventually('every server knows all slots', () => agree(servers), START_MS);
}

async function busPort(server: StoreProcess): Promise<string> {
  return (await server.ask('CONFIG', 'GET', 'cluster-port')).split('\n')[1] ?? '';
}

async function agree(servers: readonly StoreProcess[]): Promise<boolean> {
  const states = await Promise.all(servers.map((server) => server.ask('CLUSTER', 'INFO')));
  return states.every(
    (state) =>
      state.includes('cluster_state:ok') &&
      state.includes(`cluster_slots_assigned:${SLOTS}`) &&
      state.includes(`cluster_known_nodes:${SERVERS}`),
  );
}

async function moveSlots(servers: readonly StoreProcess[], count: number): Promise<void> {
  const [first, second] = servers as [StoreProcess, StoreProcess];
  const [from, to] = await Promise.all([first, second].map((server) => server.ask('CLUSTER', 'MYID')));
  const args = ['--cluster-from', from, '--cluster-to', to, '--cluster-slots', String(count), '--cluster-yes'];
  await first.cli('--cluster', 'reshard', `127.0.0.1:${first.port}`, ...(args as string[]));
}
