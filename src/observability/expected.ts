import { type ErrorCode, errorCodesOf } from '../error-catalogue.ts';
import type { Outcome } from './proxy-observer.ts';

/** Route label of requests that match no route. The config allows no route of this name. */
export const UNMATCHED = '_unmatched';
/** Route label of token requests for cambist's own requests to transmitters. The config allows no route of this name. */
export const OF_SIGNALS = '_signals';

/** Responses that exist for every route from the start, so that rates can be computed at once. */
export const EXPECTED_RESPONSES: readonly (readonly [status: number, outcome: Outcome])[] = [
  [200, 'forwarded'],
  [401, 'refused'],
  [403, 'refused'],
  [502, 'failed'],
  [503, 'failed'],
  [504, 'failed'],
];

/** The result of an exchange. The empty string stands for an issued token. */
export type ExchangeResult = ErrorCode | '';
export const EXCHANGE_RESULTS: readonly ExchangeResult[] = ['', ...errorCodesOf('exchange')];

/** Errors of a route that requests no token. It can still read a caller's token, and a client certificate for its backend. */
export const PLAIN_ERRORS: readonly ErrorCode[] = [
  'ERR_AGENT_NOT_ALLOWED',
  'ERR_CROSS_SITE_REQUEST',
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_REVOCATIONS_UNKNOWN',
  'ERR_CREDENTIAL_UNAVAILABLE',
  ...errorCodesOf('upstream').filter((code) => code !== 'ERR_UPSTREAM_REFUSED_TOKEN'),
  ...errorCodesOf('any'),
];

export const SECRET_ERRORS: readonly ErrorCode[] = [
  'ERR_SUBJECT_TOKEN_MISSING',
  'ERR_UPSTREAM_REFUSED_TOKEN',
  ...PLAIN_ERRORS,
];

export const UNMATCHED_ERRORS: readonly ErrorCode[] = [
  ...errorCodesOf('route'),
  'ERR_REQUEST_TIMEOUT',
  'ERR_SHUTTING_DOWN',
  'ERR_OVERLOADED',
];
