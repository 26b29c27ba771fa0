import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { Transmitter } from '../config/optional-sections.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import type { OwnTokens } from '../tokens/own-tokens.ts';
import type { SignalCounts } from './counts.ts';
import type { TransmitterHealth } from './health.ts';
import { createPollTurns } from './poll-turns.ts';
import { createPoller } from './poller.ts';
import { TransmitterError } from './problems.ts';
import { createStreamLocator } from './stream.ts';
import { createStreamWatch, type StreamWatch } from './stream-watch.ts';
import type { IsTold } from './tell-replicas.ts';
import { createTransmitterClient } from './transmitter-client.ts';

/** cambist's own requests to a transmitter: for events, and whether the stream works. */
export type Subscription = StreamWatch;

export interface SubscriptionOptions {
  readonly dispatcher: () => Dispatcher | Promise<Dispatcher>;
  readonly ownTokens: () => OwnTokens;
  /** Applies a polled event. @returns whether other replicas know it @throws {InvalidSignal} {CambistError} */
  readonly take: (token: string) => Promise<IsTold>;
  readonly counts: Pick<SignalCounts, 'polled'>;
  readonly health: TransmitterHealth;
  /** To the replicas that share its events. Undefined without `cache.shared`. */
  readonly messages: SharedMessages | undefined;
  readonly clock: Clock;
}

/** @returns undefined where the transmitter alone sends requests */
export function createSubscription(transmitter: Transmitter, options: SubscriptionOptions): Subscription | undefined {
  const { name, delivery, client: credentials, pollEndpoint, pollIntervalMs } = transmitter;
  if (delivery === undefined || (delivery === 'push' && credentials === undefined)) return undefined;
  const { dispatcher, ownTokens, take, counts, health, messages, clock } = options;
  const client = createTransmitterClient(transmitter, { dispatcher, tokens: ownTokens, clock });
  const { locate, forget } = createStreamLocator(transmitter, client);
  const isAlone = messages === undefined;
  const watch =
    pollEndpoint === undefined ? createStreamWatch({ name, delivery, client, locate, health, isAlone }) : undefined;
  const poller =
    delivery === 'push'
      ? undefined
      : createPoller({
          name,
          client,
          async locate() {
            const { pollUrl } = await locate();
            if (pollUrl === undefined) throw new TransmitterError('stream', `transmitter "${name}": no URL for polls`);
            return pollUrl;
          },
          forget,
          intervalMs: pollIntervalMs,
          take,
          turns:
            messages && createPollTurns({ messages, name, intervalMs: pollIntervalMs, clock, random: Math.random }),
          onResult(error) {
            counts.polled(name, error === undefined ? 'success' : 'failure');
            if (error === undefined) {
              health.polled();
              health.worked('poll');
            } else health.failed('poll', error);
          },
          clock,
        });
  return {
    start() {
      poller?.start();
      watch?.start();
    },
    stop() {
      poller?.stop();
      watch?.stop();
    },
    verified: (state) => watch?.verified(state),
  };
}
