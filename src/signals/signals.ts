import type { Clock } from '../clock/clock.ts';
import type { Signals, Transmitter } from '../config/optional-sections.ts';
import { limitConnections } from '../listeners/limit-connections.ts';
import { openListener } from '../listeners/listen.ts';
import type { Logger } from '../observability/logger.ts';
import type { MetricFamily } from '../observability/metric-families.ts';
import type { ConnectionCounts } from '../observability/metrics.ts';
import { createIssuerKeys, type IssuerKeys } from '../tokens/jwks.ts';
import { createRevocations, type Revocations } from '../tokens/revocations.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import { type Channel, createSignalCounts } from './counts.ts';
import { InvalidSignal } from './events.ts';
import { createReceiver } from './receiver.ts';
import { verifySignal } from './verify-signal.ts';

/** The receiver of signals, and the revocations that they cause. */
export interface SignalsSide {
  readonly revocations: Revocations;
  /** Opens the listener, if there is one. @returns its address */
  open(socketMode: number): Promise<string | undefined>;
  close(): Promise<void>;
  readonly families: readonly MetricFamily[];
  readonly connections: (() => ConnectionCounts) | undefined;
  /** Fetches the keys of a transmitter. @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID */
  prepare(transmitter: Transmitter): Promise<void>;
}

export interface SignalsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dispatchers: Dispatchers;
}

/** Transmitters are few. */
const MAX_CONNECTIONS = 256;
/** The time limit for connecting to an issuer whose keys are needed. */
const KEYS_CONNECT_MS = 5000;

export function createSignals(config: Signals, { clock, logger, dispatchers }: SignalsOptions): SignalsSide {
  const { listen, rememberMs, transmitters } = config;
  const revocations = createRevocations({
    clock,
    rememberMs,
    onFull: () =>
      logger.error({}, 'too many revocations; refusing all older tokens of their issuer: lower signals.remember'),
  });
  const channels = Object.fromEntries(transmitters.map((each) => [each.name, channelsOf(each)]));
  const counts = createSignalCounts(channels);
  const keys = new Map(transmitters.map((each) => [each, keysFor(each, dispatchers, clock)]));

  async function take(transmitter: Transmitter, channel: Channel, token: string): Promise<void> {
    const { name } = transmitter;
    const kind = channel === 'logout' ? 'logout' : 'event';
    const signal = await verifySignal(token, kind, transmitter, keysOf(transmitter), clock);
    const applied = signal.revocations.filter((revocation) => revocations.revoke(revocation)).length;
    const result = applied > 0 ? 'applied' : signal.revocations.length > 0 ? 'unchanged' : 'ignored';
    counts.received(name, channel, result);
    logger.info({ transmitter: name, channel, events: signal.events, result }, 'signal received');
  }

  function refused(transmitter: Transmitter, channel: Channel, error: unknown): void {
    const { name } = transmitter;
    const result = error instanceof InvalidSignal ? 'refused' : 'failed';
    counts.received(name, channel, result);
    logger.warn({ transmitter: name, channel, result, err: error }, 'signal not accepted');
  }

  function keysOf(transmitter: Transmitter): IssuerKeys {
    const found = keys.get(transmitter);
    if (found === undefined) throw new Error('unknown transmitter');
    return found;
  }

  const server = listen === undefined ? undefined : createReceiver(transmitters, take, refused);
  const connections =
    server &&
    limitConnections(server.server, MAX_CONNECTIONS, (count) => {
      logger.warn({}, `too many connections to signals.listen; dropped ${count}`);
    });

  return {
    revocations,
    open: async (socketMode) =>
      server === undefined || listen === undefined
        ? undefined
        : openListener(server, listen, 'signals.listen', socketMode),
    close: async () => server?.close(),
    families: counts.families(() => revocations.size),
    connections: connections && (() => connections.counts),
    prepare: (transmitter) => keysOf(transmitter).prepare(),
  };
}

function keysFor({ issuer, jwksUri, ca }: Transmitter, dispatchers: Dispatchers, clock: Clock): IssuerKeys {
  const tls = ca === undefined ? undefined : { ca, certificate: undefined, privateKey: undefined };
  return createIssuerKeys(
    { issuer, jwksUri, allowInsecureHttp: false },
    () => dispatchers.for({ name: `issuer "${issuer}"`, tls, connectMs: KEYS_CONNECT_MS }),
    clock,
  );
}

function channelsOf({ delivery, backchannelLogout }: Transmitter): Channel[] {
  return [...(delivery === undefined ? [] : [delivery]), ...(backchannelLogout ? (['logout'] as const) : [])];
}
