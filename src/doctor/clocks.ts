import type { JWTPayload } from 'jose';
import { type Finding, fine, problem, warning } from './finding.ts';

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
  return outside(statedMs, sentAtMs, respondedAtMs);
}

/** Whole seconds that a server's clock is ahead of this machine's. Undefined if unknown, or too small to matter to tokens. */
export function clockDifference(response: TimedResponse): number | undefined {
  const skewMs = skewOf(response);
  return skewMs === undefined || Math.abs(skewMs) <= MAX_SKEW_MS ? undefined : Math.round(skewMs / 1000);
}

/** The same as `skewOf`, from the `iat` of a token that was issued between request and response (RFC 7519 section 4.1.6). */
export function skewByIssue({ iat }: JWTPayload, { sentAtMs, respondedAtMs }: TimedResponse): number | undefined {
  if (typeof iat !== 'number' || respondedAtMs === undefined) return undefined;
  return outside(1000 * iat, sentAtMs, respondedAtMs);
}

/** The signed distance from a period to the second that starts at `statedMs`; 0 within the period. */
function outside(statedMs: number, fromMs: number, toMs: number): number {
  if (statedMs > toMs) return statedMs - toMs;
  return Math.min(0, statedMs + 999 - fromMs);
}

export function clockFinding(skewMs: number, source: 'the Date header' | '"iat" of the issued token'): Finding {
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return fine('clock_agrees', `the clocks agree, by ${source}`);
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const fix = 'synchronize both machines with NTP; find the wrong clock with `date -u`';
  if (skewMs > 0) {
    return problem('clock_skew', `the server's clock is ${seconds} s ahead of this machine's, by ${source}`, {
      why: 'its tokens appear to be from the future, here and to backends with a correct clock',
      fix,
    });
  }
  const what = `the server's clock is ${seconds} s behind this machine's, by ${source}`;
  // Some servers backdate their tokens, to tolerate clocks that are behind.
  if (source !== 'the Date header') return warning('clock_skew', what, { why: 'or the server backdates tokens', fix });
  return problem('clock_skew', what, {
    why: 'assertions that cambist signs appear to the server to be from the future',
    fix,
  });
}
