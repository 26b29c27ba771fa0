import type { Transmitter } from '../config/signals.ts';
import { toRequestUrl } from '../tokens/bounded-request.ts';
import { readPollResponse } from './poll-response.ts';
import { FIXES, TransmitterError, type TransmitterProblem } from './problems.ts';
import { SHORT_POLL_MS } from './send-polls.ts';
import { type ClientOptions, createTransmitterClient } from './transmitter-client.ts';

/** Why a poll failed. */
export interface PollProblem {
  readonly problem: TransmitterProblem;
  readonly cause: string;
  readonly fix: string;
}

/** Polls a transmitter once, and acknowledges nothing. @returns undefined if that works */
export async function probeTransmitter(
  transmitter: Transmitter,
  pollEndpoint: string,
  options: ClientOptions,
): Promise<PollProblem | undefined> {
  const client = createTransmitterClient(transmitter, options);
  try {
    const body = { maxEvents: 1, returnImmediately: true };
    const response = await client.post(toRequestUrl(pollEndpoint), body, SHORT_POLL_MS);
    if (response.status !== 200) throw client.unexpected('the request for events', response);
    readPollResponse(response, `transmitter "${transmitter.name}"`, 1);
    return undefined;
  } catch (error) {
    if (!(error instanceof TransmitterError)) throw error;
    const { problem, message: cause } = error;
    return { problem, cause, fix: FIXES[problem] };
  }
}
