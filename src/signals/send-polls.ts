import type { Clock } from '../clock/clock.ts';
import type { HttpResponse, RequestUrl } from '../tokens/bounded-request.ts';
import { type PolledSets, readPollResponse } from './poll-response.ts';
import type { EventSettler } from './settle-events.ts';
import { type TransmitterClient, TransmitterTimeout, TransmitterTooLarge } from './transmitter-client.ts';

/** Sends polls to a transmitter. */
export interface PollSender {
  /**
   * Sends one poll, with the results of earlier events. It is a long one after a success.
   * @returns undefined where a long poll shows nothing about the transmitter, so that a short one must follow
   * @throws {TransmitterError}
   */
  send(): Promise<Polled | undefined>;
  /** Makes the next poll a short one, which shows whether the transmitter is there. */
  failed(): void;
}

export interface Polled extends PolledSets {
  /** The transmitter responded at once, although it could have waited for an event. */
  readonly isQuiet: boolean;
}

export interface PollSenderOptions {
  /** Name of the transmitter. */
  readonly name: string;
  readonly client: Pick<TransmitterClient, 'post' | 'unexpected'>;
  readonly url: RequestUrl;
  readonly clock: Clock;
  readonly settler: Pick<EventSettler, 'results' | 'delivered' | 'held' | 'release'>;
}

/** Most events of one poll. A response may have 256 KiB, and an event has a few hundred bytes. */
export const MAX_EVENTS = 50;
/** How long a transmitter may take to respond to a poll that wants a response at once. */
export const SHORT_POLL_MS = 10_000;
/** How long a transmitter may delay its response until there is an event. Gateways often close a request after a minute. */
const LONG_POLL_MS = 30_000;
/** A response without events within this time was not delayed. */
const DELAYED_MS = 1000;

export function createPollSender({ name, client, url, clock, settler }: PollSenderOptions): PollSender {
  let maxEvents = MAX_EVENTS;
  /** The last poll got a response. The next one may then be a long one. */
  let isReachable = false;

  /** The response is undefined where a long poll got none. A transmitter may delay it for longer. */
  async function post(isLong: boolean): Promise<{ readonly response: HttpResponse | undefined; readonly max: number }> {
    const results = settler.results();
    // Beside those that come again because they are not acknowledged.
    const max = maxEvents + settler.held;
    try {
      const body = { maxEvents: max, returnImmediately: !isLong, ...results };
      return { response: await client.post(url, body, isLong ? LONG_POLL_MS : SHORT_POLL_MS), max };
    } catch (error) {
      if (isLong && error instanceof TransmitterTimeout) return { response: undefined, max };
      if (error instanceof TransmitterTooLarge) {
        maxEvents = Math.max(1, Math.floor(maxEvents / 2));
        settler.release();
      }
      throw error;
    }
  }

  return {
    async send() {
      const isLong = isReachable;
      const startedMs = clock.monotonicMs();
      const { response, max } = await post(isLong);
      isReachable = response !== undefined;
      if (response === undefined) return undefined;
      if (response.status !== 200) throw client.unexpected('the request for events', response);
      const polled = readPollResponse(response, `transmitter "${name}"`, max);
      settler.delivered();
      if (!polled.moreAvailable) maxEvents = MAX_EVENTS;
      const isQuiet = polled.sets.length === 0 && isLong && clock.monotonicMs() - startedMs < DELAYED_MS;
      return { ...polled, isQuiet };
    },
    failed() {
      isReachable = false;
    },
  };
}
