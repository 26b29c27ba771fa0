import { eventually } from '../../harness/eventually.ts';
import type { Lifetime } from '../../harness/lifetime.ts';
import { ADMIN_USER, type StoreOptions, type StoreProcess, startStore } from './store-process.ts';

const NAME = 'cambist';
const SENTINELS = 3;
const QUORUM = 2;
/** Short: a test waits for it. */
const DOWN_AFTER_MS = 500;
const FAILOVER_MS = 60_000;

/** Two servers, one of which is the other's replica, and sentinels that watch them. */
export async function startSentinel(t: Lifetime, options: StoreOptions) {
  const start = (more: Partial<StoreOptions>): Promise<StoreProcess> => startStore(t, { ...options, ...more });
  const first = await start({});
  const second = await start({ config: [...(options.config ?? []), `replicaof 127.0.0.1 ${first.port}`] });
  const servers = [first, second];
  await eventually('the replica follows', () => isFollowed(first), FAILOVER_MS);
  const sentinels = await Promise.all(
    Array.from({ length: SENTINELS }, () =>
      start({ isSentinel: true, config: sentinelConfig(first.port, options.user !== undefined) }),
    ),
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
  return { name: NAME, sentinels, primary, failOver };
}

function sentinelConfig(primaryPort: number, hasUser: boolean): string[] {
  const lines = [
    `sentinel monitor ${NAME} 127.0.0.1 ${primaryPort} ${QUORUM}`,
    `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${NAME} 3000`,
  ];
  if (hasUser) {
    const { username, password } = ADMIN_USER;
    // The sentinels ask each other as this user too.
    lines.push(`sentinel auth-user ${NAME} ${username}`, `sentinel auth-pass ${NAME} ${password}`);
    lines.push(`sentinel sentinel-user ${username}`, `sentinel sentinel-pass ${password}`);
  }
  return lines;
}

async function isFollowed(primary: StoreProcess): Promise<boolean> {
  return (await primary.ask('INFO', 'replication')).includes('state=online');
}

/** Without the others and the replica, no failover succeeds. */
async function areReady(sentinels: readonly StoreProcess[]): Promise<boolean> {
  const states = await Promise.all(sentinels.map((sentinel) => sentinel.ask('INFO', 'sentinel')));
  return states.every((state) => state.includes(`slaves=1,sentinels=${SENTINELS}`));
}
