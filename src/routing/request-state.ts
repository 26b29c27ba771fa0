import type { Route } from '../config/route.ts';

/** Begins every `requestState` of cambist, so that it can be told from a backend's. */
export const STATE_PREFIX = 'cambist-consent.1.';

/** Largest state of a backend that is kept in the state of a consent. */
export const MAX_NESTED_BYTES = 32 * 1024;

/** Base64 of the nested state, with the sealing and the response of the client. */
const MAX_ADDED_BYTES = 48 * 1024;

/** The bytes that a retry after a consent may add to the original request. */
export function addedStateBytes({ consent }: Pick<Route, 'consent'>): number {
  return consent === undefined ? 0 : MAX_ADDED_BYTES;
}
