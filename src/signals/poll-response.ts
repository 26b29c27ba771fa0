import type { HttpResponse } from '../tokens/bounded-request.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { TransmitterError } from './problems.ts';

/** The events of one poll. */
export interface PolledSets {
  /** By their `jti`. */
  readonly sets: readonly (readonly [jti: string, token: string])[];
  readonly moreAvailable: boolean;
}

/** Longest `jti`. It is repeated in the next request. */
const MAX_JTI_LENGTH = 1024;

/**
 * Reads the response to a poll. Pure.
 * @param max more sets are left for later
 * @throws {TransmitterError} `response`
 * @see RFC 8936 section 2.2
 */
export function readPollResponse({ text }: HttpResponse, label: string, max: number): PolledSets {
  const body = parseJsonObject(text);
  if (body === undefined) throw invalid(label, 'the response to a poll is not a JSON object');
  const { sets = {}, moreAvailable } = body;
  if (typeof sets !== 'object' || sets === null || Array.isArray(sets))
    throw invalid(label, 'its "sets" is not an object');
  const read = Object.entries(sets)
    .slice(0, max)
    .map(([jti, token]) => {
      if (typeof token !== 'string') throw invalid(label, 'an event is not a string');
      if (jti === '' || jti.length > MAX_JTI_LENGTH) throw invalid(label, 'the name of an event is empty or too long');
      return [jti, token] as const;
    });
  return { sets: read, moreAvailable: moreAvailable === true };
}

function invalid(label: string, why: string): TransmitterError {
  return new TransmitterError('response', `${label}: ${why}`);
}
