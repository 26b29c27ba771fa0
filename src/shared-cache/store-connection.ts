import {
  type CommandParser,
  createClient,
  createCluster,
  createSentinel,
  defineScript,
  type RedisClientOptions,
  SocketClosedUnexpectedlyError,
} from '@redis/client';
import type { SharedCache } from '../config/shared-cache.ts';
import { type CredentialSource, readCredential } from '../secrets/credential.ts';
import { ACQUIRE, FINISH, FORGET, KEEP, RECALL, type Script } from './scripts.ts';
import { inTime } from './store-problems.ts';

/** A connection to the server, or to the servers of a cluster. After a fault it is replaced. */
export interface StoreConnection {
  run(script: Script, keys: readonly string[], args: readonly string[]): Promise<unknown>;
  get(key: string): Promise<unknown>;
  set(key: string, value: string, lifetimeMs: number): Promise<unknown>;
  /** Sets a value where the key has none. */
  add(key: string, value: string, lifetimeMs: number): Promise<unknown>;
  delete(keys: readonly string[]): Promise<unknown>;
  /** Settles with the number of connections that received it. Undefined for a cluster, where each node knows only its own. */
  publish(channel: string, message: string): Promise<number | undefined>;
  /** Settles when the server has confirmed it. */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Forgets what is in flight. Never throws. */
  destroy(): void;
}

/**
 * @param onLost is called when a connection is lost, at most once. The caller then destroys it
 * @param onInterrupted is called when the library replaces a connection by itself, so that messages may be lost
 */
export type ConnectStore = (
  shared: SharedCache,
  onLost: (error: unknown) => void,
  onInterrupted?: () => void,
) => Promise<StoreConnection>;

type ScriptCall = (keys: readonly string[], args: readonly string[]) => Promise<unknown>;

/** The common part of the library's three clients. */
interface Client {
  readonly connect: () => Promise<unknown>;
  readonly destroy: () => unknown;
  readonly on: (event: string, listener: (error: unknown) => void) => unknown;
  readonly get: (key: string) => Promise<unknown>;
  readonly set: (key: string, value: string, options: { PX: number; NX?: true }) => Promise<unknown>;
  readonly del: (key: string) => Promise<unknown>;
  readonly publish: (channel: string, message: string) => Promise<unknown>;
  readonly subscribe: (channel: string, listener: (message: string) => void) => Promise<unknown>;
}

/** Time limit for a connection. A server that needs longer is tried again later. */
const CONNECT_MS = 2000;
/** Backoff of the clients of clusters and sentinels, which reconnect by themselves. */
const FIRST_RECONNECT_MS = 100;
const MAX_RECONNECT_MS = 2000;
/** Interval for reading the primary from the sentinels, beside their own messages. */
const SENTINEL_SCAN_MS = 2000;
/** Commands that may wait. The time limit of each is much shorter. */
const MAX_QUEUED = 10_000;

/** Each runs by its digest, and is sent in full where the server does not know it. */
const SCRIPTS = Object.fromEntries(
  [ACQUIRE, FINISH, FORGET, KEEP, RECALL].map(({ name, text, keys }) => [
    name,
    defineScript({
      SCRIPT: text,
      NUMBER_OF_KEYS: keys,
      parseCommand(parser: CommandParser, names: string[], args: string[]) {
        parser.pushKeys(names);
        parser.push(...args);
      },
      transformReply: (reply: unknown) => reply,
    } as unknown as Parameters<typeof defineScript>[0]),
  ]),
);

/** Connects with credentials and certificates as the files have them now. @throws {Error} if that fails */
export const connectStore: ConnectStore = async (shared, onLost, onInterrupted = () => {}) => {
  let isOver = false;
  // The client of sentinels forgets a subscriber that cannot connect, without destroying it.
  const { client, subscriber } = await createClients(shared, (retries) => !isOver && reconnectMs(retries));
  const lose = (error: unknown): void => {
    if (isOver) return;
    isOver = true;
    onLost(error);
  };
  // The client of a cluster reports its connections by the second name.
  for (const event of ['error', 'node-error']) client.on(event, (error) => isInterruption(error) && onInterrupted());
  for (const event of ['topology-change', 'node-disconnect']) client.on(event, () => onInterrupted());
  const all = subscriber === client ? [client] : [client, subscriber];
  for (const each of all) {
    // Without a listener, an error would end the process. The clients of clusters and sentinels repair most of them.
    each.on('error', shared.server.kind === 'standalone' ? lose : () => {});
    each.on('end', () => lose(new Error('The connection was closed')));
  }
  const destroy = (): void => {
    isOver = true;
    for (const each of all) destroyQuietly(each);
  };
  try {
    // A server that accepts no connection in time counts as unreachable, not as slow.
    await inTime(Promise.all(all.map((each) => each.connect())), CONNECT_MS, () => new Error('Connection timeout'));
  } catch (error) {
    destroy();
    throw error;
  }
  const calls = client as unknown as Readonly<Record<string, ScriptCall>>;
  return {
    run: ({ name }, keys, args) => (calls[name] as ScriptCall)(keys, args),
    get: (key) => client.get(key),
    set: (key, value, lifetimeMs) => client.set(key, value, { PX: lifetimeMs }),
    add: (key, value, lifetimeMs) => client.set(key, value, { PX: lifetimeMs, NX: true }),
    delete: (keys) => Promise.all(keys.map((key) => client.del(key))),
    async publish(channel, message) {
      const receivers = await client.publish(channel, message);
      return shared.server.kind === 'cluster' || typeof receivers !== 'number' ? undefined : receivers;
    },
    subscribe: (channel, listener) => subscriber.subscribe(channel, listener),
    destroy,
  };
};

/** Attempts to connect to a server that is down fail again and again, and interrupt nothing. */
function isInterruption(error: unknown): boolean {
  const { syscall = 'connect' } = error as NodeJS.ErrnoException;
  return error instanceof SocketClosedUnexpectedlyError || syscall !== 'connect';
}

function reconnectMs(retries: number): number {
  return Math.min(MAX_RECONNECT_MS, FIRST_RECONNECT_MS * 2 ** retries) * (0.5 + Math.random() / 2);
}

/** A subscribed connection of one server takes no other commands. The other two clients open a connection of their own for it. */
async function createClients(
  shared: SharedCache,
  reconnect: (retries: number) => number | false,
): Promise<{ client: Client; subscriber: Client }> {
  const { server, username, password, tls } = shared;
  const isStandalone = server.kind === 'standalone';
  const files = tls && {
    tls: true,
    ...(tls.ca !== undefined && { ca: await textOf({ file: tls.ca }, 'tls.ca') }),
    ...(tls.certificate !== undefined && { cert: await textOf({ file: tls.certificate }, 'tls.certificate') }),
    ...(tls.privateKey !== undefined && { key: await textOf({ file: tls.privateKey }, 'tls.private_key') }),
  };
  const socket = { connectTimeout: CONNECT_MS, reconnectStrategy: isStandalone ? false : reconnect, ...files };
  const anonymous = {
    disableOfflineQueue: true,
    disableClientInfo: true,
    commandsQueueMaxLength: MAX_QUEUED,
    // Otherwise a server could send the connection elsewhere.
    maintNotifications: 'disabled',
    socket,
  };
  const connection = { ...anonymous, ...(await credentials(username, password, 'password')) };
  // The older protocol, which every server and proxy has. Nothing here needs the newer one.
  const common = { scripts: SCRIPTS, RESP: 2 };
  switch (server.kind) {
    case 'standalone': {
      const own = { ...connection, ...common, socket: { ...socket, ...server.node } } as RedisClientOptions;
      const create = () => createClient(own) as unknown as Client;
      return { client: create(), subscriber: create() };
    }
    case 'cluster': {
      const rootNodes = server.nodes.map((node) => ({ socket: { ...socket, ...node } }));
      const cluster = { rootNodes, defaults: connection, ...common };
      const client = createCluster(cluster as unknown as Parameters<typeof createCluster>[0]) as unknown as Client;
      return { client, subscriber: client };
    }
    case 'sentinel': {
      const own = await credentials(server.username, server.password, 'sentinel.password');
      const sentinel = {
        name: server.name,
        sentinelRootNodes: server.nodes,
        nodeClientOptions: connection,
        sentinelClientOptions: { ...anonymous, ...own },
        scanInterval: SENTINEL_SCAN_MS,
        maxCommandRediscovers: 1,
        ...common,
      };
      const client = createSentinel(sentinel as unknown as Parameters<typeof createSentinel>[0]) as unknown as Client;
      return { client, subscriber: client };
    }
  }
}

async function credentials(username: string | undefined, password: CredentialSource | undefined, name: string) {
  return {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password: await textOf(password, name) }),
  };
}

async function textOf(source: CredentialSource, name: string): Promise<string> {
  return (await readCredential(source, `cache.shared.${name}`)).reveal();
}

/** A client that was never connected throws. */
function destroyQuietly(client: Client): void {
  try {
    void Promise.resolve(client.destroy()).catch(() => {});
  } catch {
    // The connection is closed in any case.
  }
}
