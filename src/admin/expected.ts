import { ERROR_CODES, type ErrorCode } from '../errors.ts';
import type { Outcome } from '../proxy/observer.ts';

/** The route label where no route matched: no route can have this name. */
export const UNMATCHED = '_unmatched';

/** Answers that every route should expect, so that a rate can be taken from the start. */
export const EXPECTED_ANSWERS: readonly (readonly [status: number, outcome: Outcome])[] = [
  [200, 'forwarded'],
  [401, 'refused'],
  [403, 'refused'],
  [502, 'failed'],
  [503, 'failed'],
  [504, 'failed'],
];

/** How an exchange ended: `''` is a token. */
export type ExchangeEnd = ErrorCode | '';
export const EXCHANGE_ENDS: readonly ExchangeEnd[] = [
  '',
  ...ERROR_CODES.filter((code) =>
    /_STS_|_SUBJECT_TOKEN_INVALID|_INTERACTION_|_EXCHANGE_|_CLIENT_|_ISSUED_|_CREDENTIAL_/.test(code),
  ),
];

/** What a request may be answered with where no token is sent, or the caller's own. */
export const PLAIN_ERRORS: readonly ErrorCode[] = ERROR_CODES.filter((code) =>
  /_SUBJECT_TOKEN_INVALID|_CREDENTIAL_|_UPSTREAM_(?!REFUSED)|_SHUTTING_|_OVERLOADED|_INTERNAL/.test(code),
);

/** What a request without a route may be answered with. */
export const UNMATCHED_ERRORS: readonly ErrorCode[] = ['ERR_ROUTE_NOT_FOUND', 'ERR_SHUTTING_DOWN', 'ERR_OVERLOADED'];
