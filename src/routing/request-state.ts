import type { Route } from '../config/route.ts';

/** The `requestState` of a retry after a consent. It contains nothing: the authorization server knows whether the user consented. */
export const CONSENT_STATE = 'cambist-consent.1';

/** The state, and the response of the client to one request for input. */
export const ADDED_BYTES = 4 * 1024;

/** The bytes that a retry after a consent may add to the original request. */
export function addedStateBytes({ consent }: Pick<Route, 'consent'>): number {
  return consent === undefined ? 0 : ADDED_BYTES;
}
