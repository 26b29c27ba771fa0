import { type Finding, fine, problem } from './finding.ts';

/** With a larger difference, tokens are refused as not yet valid, or expire too late. */
const MAX_SKEW_MS = 5000;

/** A response with the epoch milliseconds of its request and its arrival, and its `Date` header. */
interface TimedResponse {
  readonly sentAtMs: number;
  readonly respondedAtMs: number | undefined;
  readonly date: string | undefined;
}

/**
 * Milliseconds that the server's clock is ahead of this machine's. The `Date` header has whole seconds and was written some time between
 * request and response, so a smaller difference counts as 0. Undefined without a valid `Date` header.
 * @see RFC 9110 section 6.6.1
 */
export function skewOf({ sentAtMs, respondedAtMs, date }: TimedResponse): number | undefined {
  const statedMs = Date.parse(date ?? '');
  if (respondedAtMs === undefined || Number.isNaN(statedMs)) return undefined;
  if (statedMs > respondedAtMs) return statedMs - respondedAtMs;
  return Math.min(0, statedMs + 999 - sentAtMs);
}

/** Whole seconds that a server's clock is ahead of this machine's. Undefined if unknown, or too small to matter to tokens. */
export function clockDifference(response: TimedResponse): number | undefined {
  const skewMs = skewOf(response);
  return skewMs === undefined || Math.abs(skewMs) <= MAX_SKEW_MS ? undefined : Math.round(skewMs / 1000);
}

export function clockFinding(skewMs: number): Finding {
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return fine('clock_agrees', 'the clocks agree, by the Date header');
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const fix = 'synchronize both machines with NTP; find the wrong clock with `date -u`';
  const isAhead = skewMs > 0;
  const side = isAhead ? 'ahead of' : 'behind';
  return problem('clock_skew', `the server's clock is ${seconds} s ${side} this machine's, by the Date header`, {
    why: isAhead
      ? 'its tokens appear to be from the future, here and to backends with a correct clock'
      : 'assertions that cambist signs appear to the server to be from the future',
    fix,
  });
}
