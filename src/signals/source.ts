import type { Transmitter } from '../config/signals.ts';
import { CambistError } from '../errors.ts';
import { createIssuerKeys } from '../tokens/jwks.ts';
import type { OwnTokens } from '../tokens/own-tokens.ts';
import { issuerPeer } from '../tokens/server-request.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import { InvalidSignal, verifySignal } from './events.ts';
import type { OperatorOptions } from './operator.ts';
import { createPoller } from './poller.ts';
import type { IsShared } from './publisher.ts';
import { createPoll, TransmitterError } from './transmitter-client.ts';
import { type Channel, createHealth } from './transmitter-health.ts';

export type Source = ReturnType<typeof createSource>;

export interface SourceOptions extends Pick<OperatorOptions, 'clock' | 'logger' | 'revocations' | 'replicas'> {
  readonly dispatchers: Dispatchers;
  readonly ownTokens: () => OwnTokens;
}

export function createSource(transmitter: Transmitter, options: SourceOptions) {
  const { clock, logger, dispatchers, ownTokens, revocations, replicas } = options;
  const { name } = transmitter;
  const dispatcher = () => dispatchers.for(issuerPeer(transmitter));
  const keys = createIssuerKeys({ ...transmitter, allowInsecureHttp: false }, dispatcher, clock);
  const health = createHealth(name, channelsOf(transmitter), { clock, logger });
  const { delivery, pollEndpoint, pollIntervalMs } = transmitter;
  const poller =
    delivery !== 'poll' || pollEndpoint === undefined
      ? undefined
      : createPoller({
          name,
          poll: createPoll(transmitter, pollEndpoint, { dispatcher, tokens: ownTokens, clock }),
          intervalMs: pollIntervalMs,
          take: (token) =>
            take('poll', token).catch((error: unknown) => {
              refused('poll', error);
              throw error;
            }),
          onResult(error) {
            health.polled(error === undefined ? 'success' : 'failure');
            if (error === undefined) health.worked('poll');
            else health.failed('poll', error);
          },
          clock,
        });

  /**
   * Applies a signal, and shares it with the other replicas.
   * @returns whether the shared cache has it. Until then, the transmitter should send it again
   * @throws {InvalidSignal} {CambistError}
   */
  async function take(channel: Channel, token: string): Promise<IsShared> {
    const signal = await verifySignal(token, channel === 'logout' ? 'logout' : 'event', transmitter, keys, clock);
    const applied = signal.revocations.filter((revocation) => revocations.revoke(revocation)).length;
    const result = applied > 0 ? 'applied' : signal.revocations.length > 0 ? 'unchanged' : 'ignored';
    health.signalled();
    health.worked('keys');
    health.received(channel, result);
    logger.info({ transmitter: name, channel, events: signal.events, result }, 'signal received');
    // Once the shared cache has it, other replicas do not depend on this process. A repeated signal may still wait for that.
    return replicas === undefined || signal.revocations.length === 0 ? () => true : replicas.settled();
  }

  function refused(channel: Channel, error: unknown): void {
    const result = error instanceof InvalidSignal ? 'refused' : 'failed';
    health.received(channel, result);
    logger.warn({ transmitter: name, channel, result, err: error }, 'signal not accepted');
    if (result === 'refused') return;
    const problem =
      error instanceof CambistError && error.code === 'ERR_CREDENTIAL_UNAVAILABLE' ? 'credential' : 'keys';
    const why = `transmitter "${name}": its signals cannot be verified`;
    health.failed('keys', new TransmitterError(problem, why, { cause: error }));
  }

  return { keys, health, poller, take, refused };
}

/** The ways in which signals of a transmitter arrive. */
export function channelsOf({ delivery, backchannelLogout }: Transmitter): Channel[] {
  return [...(delivery === undefined ? [] : [delivery]), ...(backchannelLogout ? (['logout'] as const) : [])];
}
