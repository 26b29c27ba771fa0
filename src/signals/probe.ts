import type { Transmitter } from '../config/optional-sections.ts';
import { readPollResponse } from './poll-response.ts';
import { FIXES, TransmitterError, type TransmitterProblem } from './problems.ts';
import { findStream, MANAGE_TIMEOUT_MS } from './stream.ts';
import { type ClientOptions, createTransmitterClient } from './transmitter-client.ts';

/** The result of a probe. */
export type ProbeResult =
  | { readonly hasStream: boolean; readonly wasPolled: boolean }
  | { readonly problem: TransmitterProblem; readonly cause: string; readonly fix: string };

/** Asks a transmitter once, and changes nothing there. */
export async function probeTransmitter(transmitter: Transmitter, options: ClientOptions): Promise<ProbeResult> {
  const client = createTransmitterClient(transmitter, options);
  try {
    const stream = await findStream(transmitter, client, { mayCreate: false });
    const { pollUrl } = stream ?? {};
    if (pollUrl === undefined) return { hasStream: stream !== undefined, wasPolled: false };
    const response = await client.post(pollUrl, { maxEvents: 1, returnImmediately: true }, MANAGE_TIMEOUT_MS);
    if (response.status !== 200) throw client.unexpected('the request for events', response);
    readPollResponse(response, `transmitter "${transmitter.name}"`, 1);
    return { hasStream: true, wasPolled: true };
  } catch (error) {
    if (!(error instanceof TransmitterError)) throw error;
    const { problem, message: cause } = error;
    return { problem, cause, fix: FIXES[problem] };
  }
}
