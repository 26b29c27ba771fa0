import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { Transmitter } from '../config/optional-sections.ts';
import type { OwnTokens } from '../tokens/own-tokens.ts';
import type { SignalCounts } from './counts.ts';
import type { TransmitterHealth } from './health.ts';
import { createPoller } from './poller.ts';
import { TransmitterError } from './problems.ts';
import type { IsShared } from './publisher.ts';
import { createStreamLocator } from './stream.ts';
import { createStreamWatch, type StreamWatch } from './stream-watch.ts';
import { createTransmitterClient } from './transmitter-client.ts';

/** cambist's own requests to a transmitter: for events, and whether the stream works. */
export type Subscription = StreamWatch;

export interface SubscriptionOptions {
  readonly dispatcher: () => Dispatcher | Promise<Dispatcher>;
  readonly ownTokens: () => OwnTokens;
  /** Applies a polled event. @returns whether the shared cache has it @throws {InvalidSignal} {CambistError} */
  readonly take: (token: string) => Promise<IsShared>;
  readonly counts: Pick<SignalCounts, 'polled'>;
  readonly health: TransmitterHealth;
  /** False with `cache.shared`: other replicas share its events. */
  readonly isAlone: boolean;
  readonly clock: Clock;
}

/** @returns undefined where the transmitter alone sends requests */
export function createSubscription(transmitter: Transmitter, options: SubscriptionOptions): Subscription | undefined {
  const { name, delivery, client: credentials, pollEndpoint, pollIntervalMs } = transmitter;
  if (delivery === undefined || (delivery === 'push' && credentials === undefined)) return undefined;
  const { dispatcher, ownTokens, take, counts, health, isAlone, clock } = options;
  const client = createTransmitterClient(transmitter, { dispatcher, tokens: ownTokens, clock });
  const { locate, forget } = createStreamLocator(transmitter, client);
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
