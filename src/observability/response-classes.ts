import type { ErrorCode } from '../error-catalogue.ts';
import type { RouteCounts } from './route-counts.ts';

/**
 * Responses by who caused their status. A backend's by its status: `other` is a number without a meaning below 500, such as 299.
 * `refused`: 4xx of cambist, because the caller has to act. `failed`: 5xx of cambist. `unreached`: 5xx of cambist, because the backend did
 * not respond. `cancelled`: the caller left before.
 */
export const RESPONSE_CLASSES = [
  ...(['2xx', '3xx', '4xx', '5xx', 'other'] as const),
  ...(['refused', 'failed', 'unreached', 'cancelled'] as const),
] as const;
export type ResponseClass = (typeof RESPONSE_CLASSES)[number];
export type ResponseClasses = Readonly<Record<ResponseClass, number>>;

export function classify({ responses, backendErrors, failures }: RouteCounts): Record<ResponseClass, number> {
  const classes = noResponses();
  for (const { code, outcome, count } of responses) {
    if (outcome === 'forwarded') classes[classOf(code)] += count;
    else if (outcome !== 'responded') classes[outcome] += count;
  }
  // Unknown numbers from 500 share the code `other` with those below.
  const unknownErrors = backendErrors - classes['5xx'];
  classes['5xx'] += unknownErrors;
  classes.other -= unknownErrors;
  for (const code of UNREACHED) classes.unreached += failures[code] ?? 0;
  classes.failed -= classes.unreached;
  return classes;
}

/** The backend or the way to it failed, not cambist. */
const UNREACHED: readonly ErrorCode[] = ['ERR_UPSTREAM_UNREACHABLE', 'ERR_UPSTREAM_TLS', 'ERR_UPSTREAM_TIMEOUT'];

/** `1xx` is the success of a WebSocket handshake. */
function classOf(code: number | 'other'): ResponseClass {
  if (code === 'other') return 'other';
  if (code < 300) return '2xx';
  if (code < 400) return '3xx';
  return code < 500 ? '4xx' : '5xx';
}

export function noResponses(): Record<ResponseClass, number> {
  return { '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0, other: 0, refused: 0, failed: 0, unreached: 0, cancelled: 0 };
}

/** The 5xx by which a backend failed, or did not respond at all. */
export function backendFailures(classes: ResponseClasses): number {
  return classes['5xx'] + classes.unreached;
}

export function allErrors(classes: ResponseClasses): number {
  return backendFailures(classes) + classes.failed;
}

/** The number of responses that callers waited for. A caller that left before the response says nothing about a route. */
export function answered(classes: ResponseClasses): number {
  return RESPONSE_CLASSES.reduce((sum, name) => sum + (name === 'cancelled' ? 0 : classes[name]), 0);
}
