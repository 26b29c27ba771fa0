import type { Clock } from '../clock/clock.ts';
import type { Signals, Transmitter } from '../config/optional-sections.ts';
import { CambistError } from '../errors.ts';
import { displaceConnections } from '../listeners/displace-connections.ts';
import { openListener } from '../listeners/listen.ts';
import type { Logger } from '../observability/logger.ts';
import type { MetricFamily } from '../observability/metric-families.ts';
import type { ConnectionCounts } from '../observability/metrics.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import { createIssuerKeys, type IssuerKeys } from '../tokens/jwks.ts';
import type { OwnTokens } from '../tokens/own-tokens.ts';
import { createRevocations, type Revocations } from '../tokens/revocations.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import { type Channel, createSignalCounts } from './counts.ts';
import { InvalidSignal } from './events.ts';
import { createHealth, type TransmitterHealth, type TransmitterStatus } from './health.ts';
import { TransmitterError } from './problems.ts';
import { createReceiver } from './receiver.ts';
import { createReplicas, type ReplicaStatus } from './replicas.ts';
import { createSubscription, type Subscription } from './subscription.ts';
import { verifySignal } from './verify-signal.ts';

/** The receiver of signals, and the revocations that they cause. */
export interface SignalsSide {
  readonly revocations: Revocations;
  /** Opens the listener, if there is one, and starts to ask transmitters. @returns the address of the listener */
  open(socketMode: number): Promise<string | undefined>;
  /** Settles once other replicas know every revocation. Never rejects. */
  allTold(): Promise<void>;
  close(): Promise<void>;
  /** Forgets revocations and failures that are too old. */
  sweep(): void;
  readonly families: readonly MetricFamily[];
  readonly connections: (() => ConnectionCounts) | undefined;
  /** Fetches the keys of a transmitter. @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID */
  prepare(transmitter: Transmitter): Promise<void>;
  /** Reads what replicas keep. Undefined without `cache.shared`. @throws {CambistError} ERR_REVOCATIONS_UNKNOWN */
  readonly readKept: (() => Promise<void>) | undefined;
  status(): SignalsStatus;
}

/** Signals in `/status.json`. */
export interface SignalsStatus {
  readonly revocations: number;
  /** Issuers whose older tokens are all refused, because there are too many revocations. */
  readonly full_issuers: number;
  readonly transmitters: readonly TransmitterStatus[];
  /** Undefined without `cache.shared`. */
  readonly replicas?: ReplicaStatus;
}

export interface SignalsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dispatchers: Dispatchers;
  /** Tokens for requests to transmitters. */
  readonly ownTokens: () => OwnTokens;
  /** Tells other replicas. Undefined without `cache.shared`. */
  readonly sharedCache: SharedCacheSide | undefined;
}

/** One transmitter, with the parts that belong to it. */
interface Source {
  readonly transmitter: Transmitter;
  readonly channels: readonly Channel[];
  readonly keys: IssuerKeys;
  readonly health: TransmitterHealth;
  /** Undefined where cambist sends no requests to the transmitter. */
  readonly subscription: Subscription | undefined;
}

/** Transmitters are few, and their requests take milliseconds. */
const MAX_CONNECTIONS = 256;
/** The time limit for connecting to a transmitter. */
const CONNECT_MS = 5000;

export function createSignals(config: Signals, options: SignalsOptions): SignalsSide {
  const { clock, logger, sharedCache } = options;
  const { listen, rememberMs, transmitters } = config;
  const issuers = transmitters.map(({ issuer }) => issuer);
  const replicas = sharedCache && createReplicas({ shared: sharedCache, clock, logger, rememberMs, issuers });
  const revocations = createRevocations({
    clock,
    rememberMs,
    onFull: () =>
      logger.error({}, 'too many revocations; refusing all older tokens of their issuer: lower signals.remember'),
    ...(replicas && { onAdded: replicas.tell, isComplete: () => replicas.isComplete }),
  });
  replicas?.join(revocations);
  const counts = createSignalCounts(Object.fromEntries(transmitters.map((each) => [each.name, channelsOf(each)])));
  const sources = new Map(transmitters.map((each) => [each, createSource(each)]));

  function createSource(transmitter: Transmitter): Source {
    const { name, issuer, ca } = transmitter;
    const channels = channelsOf(transmitter);
    const tls = ca === undefined ? undefined : { ca, certificate: undefined, privateKey: undefined };
    const dispatcher = () => options.dispatchers.for({ name: `issuer "${issuer}"`, tls, connectMs: CONNECT_MS });
    const keys = createIssuerKeys({ ...transmitter, allowInsecureHttp: false }, dispatcher, clock);
    const health = createHealth(name, channels, { clock, logger });
    const takePolled = (token: string) =>
      take(transmitter, 'poll', token).catch((error: unknown) => {
        refused(transmitter, 'poll', error);
        throw error;
      });
    const { ownTokens } = options;
    const isShared = () => replicas === undefined || replicas.status().unshared === 0;
    const parts = {
      dispatcher,
      ownTokens,
      take: takePolled,
      isShared,
      counts,
      health,
      messages: sharedCache?.messages,
      clock,
    };
    return { transmitter, channels, keys, health, subscription: createSubscription(transmitter, parts) };
  }

  /**
   * Applies a signal, and tells the other replicas.
   * @returns false if only this process knows it, so that the transmitter should send it again
   * @throws {InvalidSignal} {CambistError}
   */
  async function take(transmitter: Transmitter, channel: Channel, token: string): Promise<boolean> {
    const { name } = transmitter;
    const { keys, health, subscription } = sourceOf(transmitter);
    const signal = await verifySignal(token, channel === 'logout' ? 'logout' : 'event', transmitter, keys, clock);
    const applied = signal.revocations.filter((revocation) => revocations.revoke(revocation)).length;
    const result = applied > 0 ? 'applied' : signal.revocations.length > 0 ? 'unchanged' : 'ignored';
    health.signalled();
    health.worked('keys');
    if (signal.verified !== undefined) subscription?.verified(signal.verified);
    counts.received(name, channel, result);
    logger.info({ transmitter: name, channel, events: signal.events, result }, 'signal received');
    // From here on, other replicas do not depend on this process for it. A repeated signal may still wait.
    return replicas === undefined || signal.revocations.length === 0 || (await replicas.settled());
  }

  function refused(transmitter: Transmitter, channel: Channel, error: unknown): void {
    const { name } = transmitter;
    const result = error instanceof InvalidSignal ? 'refused' : 'failed';
    counts.received(name, channel, result);
    logger.warn({ transmitter: name, channel, result, err: error }, 'signal not accepted');
    if (result === 'refused') return;
    const problem =
      error instanceof CambistError && error.code === 'ERR_CREDENTIAL_UNAVAILABLE' ? 'credential' : 'keys';
    const why = `transmitter "${name}": its signals cannot be verified`;
    sourceOf(transmitter).health.failed('keys', new TransmitterError(problem, why, { cause: error }));
  }

  function sourceOf(transmitter: Transmitter): Source {
    const found = sources.get(transmitter);
    if (found === undefined) throw new Error('unknown transmitter');
    return found;
  }

  const server = listen === undefined ? undefined : createReceiver(transmitters, take, refused);
  const connections =
    server &&
    displaceConnections(server.server, MAX_CONNECTIONS, (count) => {
      logger.warn({}, `too many connections to signals.listen; dropped ${count}`);
    });
  const shown = [...sources.values()].map(({ transmitter: { name }, health }) => ({
    name,
    isAvailable: () => health.isAvailable,
    lastSignalMs: () => health.lastSignalMs,
  }));

  return {
    revocations,
    async open(socketMode) {
      const address =
        server === undefined || listen === undefined
          ? undefined
          : await openListener(server, listen, 'signals.listen', socketMode);
      for (const { subscription } of sources.values()) subscription?.start();
      return address;
    },
    allTold: async () => replicas?.allTold(),
    async close() {
      for (const { subscription } of sources.values()) subscription?.stop();
      replicas?.close();
      await server?.close();
    },
    sweep() {
      revocations.sweep();
      for (const { health } of sources.values()) health.sweep();
    },
    families: [...counts.families(() => revocations.size, shown), ...(replicas?.families ?? [])],
    connections: connections && (() => connections.counts),
    prepare: (transmitter) => sourceOf(transmitter).keys.prepare(),
    readKept: replicas?.prepare,
    status: () => ({
      revocations: revocations.size,
      full_issuers: revocations.fullIssuers,
      transmitters: [...sources.values()].map(({ health }) => health.status()),
      ...(replicas && { replicas: replicas.status() }),
    }),
  };
}

function channelsOf({ delivery, backchannelLogout }: Transmitter): Channel[] {
  return [...(delivery === undefined ? [] : [delivery]), ...(backchannelLogout ? (['logout'] as const) : [])];
}
