import type { Signals, Transmitter } from '../config/signals.ts';
import { openListener } from '../listeners/listen.ts';
import { limitOthers } from '../listeners/open-files.ts';
import { type ListenerCertificates, tlsOf } from '../listeners/tls.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import { createRevocations } from '../tokens/revocations.ts';
import { createOperator, type OperatorOptions } from './operator.ts';
import { createReceiver } from './receiver.ts';
import { createReplicas, type Replicas } from './replicas.ts';
import { createSource, type Source, type SourceOptions } from './source.ts';
import { signalFamilies, type TransmitterStatus } from './transmitter-health.ts';

/** Signals in `/status.json`. */
export interface SignalsStatus {
  readonly revocations: number;
  /** Issuers whose older tokens are all refused, because there are too many revocations. */
  readonly full_issuers: number;
  readonly transmitters: readonly TransmitterStatus[];
  readonly replicas?: ReturnType<Replicas['status']>;
}

export interface SignalsOptions extends Pick<SourceOptions, 'clock' | 'logger' | 'dispatchers' | 'ownTokens'> {
  readonly sharedCache: SharedCacheSide | undefined;
  readonly certificates?: ListenerCertificates;
  /** The issuers that routes and `inbound` verify. */
  readonly verified: () => readonly string[];
  readonly onRevoked: OperatorOptions['onRevoked'];
}

/** Transmitters are few, and their requests take milliseconds. */
const MAX_CONNECTIONS = 256;

/** The receiver of signals, and the revocations that they cause. */
export type SignalsSide = ReturnType<typeof createSignals>;

export function createSignals(config: Signals, options: SignalsOptions) {
  const { clock, logger, sharedCache } = options;
  const { listen, rememberMs, transmitters } = config;
  const issuers = () => [...new Set([...transmitters.map(({ issuer }) => issuer), ...options.verified()])];
  const replicas = sharedCache && createReplicas({ shared: sharedCache, clock, logger, rememberMs, issuers });
  const revocations = createRevocations({
    clock,
    rememberMs,
    onFull: () =>
      logger.error({}, 'too many revocations; refusing all older tokens of their issuer: lower signals.remember'),
    ...(replicas && { onAdded: replicas.publish, isComplete: () => replicas.isComplete }),
  });
  replicas?.join(revocations);
  const parts = { ...options, revocations, replicas };
  const operator = config.revoke && createOperator(config.revoke, { ...parts, issuers });
  const sources = new Map(transmitters.map((each) => [each, createSource(each, parts)]));

  const server = listen === undefined ? undefined : createReceiver(sources, clock, tlsOf(listen));
  const connections = server && limitOthers(server.server, 'signals.listen', MAX_CONNECTIONS, logger);
  const healths = new Map([...sources].map(([{ name }, { health }]) => [name, health]));

  return {
    revocations,
    /** Opens the listener, if there is one, and starts to poll transmitters. @returns the address of the listener */
    async open(socketMode: number): Promise<string | undefined> {
      const address =
        server === undefined || listen === undefined
          ? undefined
          : await openListener(server, listen, 'signals.listen', socketMode, options.certificates);
      for (const { poller } of sources.values()) poller?.start();
      return address;
    },
    /** Settles once the shared cache has every revocation. Never rejects. */
    allShared: async (): Promise<void> => replicas?.allShared(),
    async close(): Promise<void> {
      for (const { poller } of sources.values()) poller?.stop();
      replicas?.close();
      await server?.close();
    },
    /** Forgets revocations and failures that are too old. */
    sweep(): void {
      revocations.sweep();
      for (const health of healths.values()) health.sweep();
    },
    families: [
      ...signalFamilies(healths, () => revocations.size),
      ...(operator === undefined ? [] : [operator.family]),
      ...(replicas?.families ?? []),
    ],
    /** Revokes by a token of `cambist revoke`. Undefined: not configured. */
    revoke: operator?.revoke,
    connections: connections && (() => connections.counts),
    /** Fetches the keys of a transmitter. @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID */
    prepare: async (transmitter: Transmitter): Promise<void> => (sources.get(transmitter) as Source).keys.prepare(),
    /** Reads the stored revocations, with `cache.shared`. @throws {CambistError} ERR_REVOCATIONS_UNKNOWN */
    readKept: replicas?.prepare,
    status: (): SignalsStatus => ({
      revocations: revocations.size,
      full_issuers: revocations.fullIssuers,
      transmitters: [...healths.values()].map((health) => health.status()),
      ...(replicas && { replicas: replicas.status() }),
    }),
  };
}
