import type { JWTPayload } from 'jose';
import { type Finding, fine, problem, warning } from './finding.ts';

/** Further apart, tokens are refused as not yet valid, or given up too late. */
const MAX_SKEW_MS = 5000;

/** Of one answer: epoch milliseconds when its request went out and when it came, and its `Date`. */
export interface TimedAnswer {
  readonly sentAtMs: number;
  readonly answeredAtMs: number | undefined;
  readonly date: string | undefined;
}

/**
 * Milliseconds that the server's clock is ahead of ours, as far as it is sure: the `Date` header has whole seconds, and
 * was written at some time between request and answer. 0 where they may agree.
 * @see RFC 9110 section 6.6.1
 */
export function skewOf({ sentAtMs, answeredAtMs, date }: TimedAnswer): number | undefined {
  const statedMs = Date.parse(date ?? '');
  if (answeredAtMs === undefined || Number.isNaN(statedMs)) return undefined;
  return outside(statedMs, sentAtMs, answeredAtMs);
}

/** The same by the `iat` of a token that was issued between request and answer (RFC 7519 section 4.1.6). */
export function skewByIssue({ iat }: JWTPayload, { sentAtMs, answeredAtMs }: TimedAnswer): number | undefined {
  if (typeof iat !== 'number' || answeredAtMs === undefined) return undefined;
  return outside(1000 * iat, sentAtMs, answeredAtMs);
}

/** How far a second that began at `statedMs` lies outside a span. */
function outside(statedMs: number, fromMs: number, toMs: number): number {
  if (statedMs > toMs) return statedMs - toMs;
  return Math.min(0, statedMs + 999 - fromMs);
}

/** What the clocks of server and machine mean for tokens. Pure. */
export function clockFinding(skewMs: number, source: 'the Date header' | '"iat" of the issued token'): Finding {
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return fine('clock_agrees', `the clocks agree, by ${source}`);
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const fix = 'let both machines take their time from NTP; see which of the two is wrong with `date -u`';
  if (skewMs > 0) {
    return problem('clock_skew', `the server's clock is ${seconds} s ahead of this machine's, by ${source}`, {
      why: 'its tokens look as if from the future, here and to backends with the right time',
      fix,
    });
  }
  const what = `the server's clock is ${seconds} s behind this machine's, by ${source}`;
  // Some servers date their tokens back, so that others' clocks may be behind.
  if (source !== 'the Date header') return warning('clock_skew', what, { why: 'or it dates its tokens back', fix });
  return problem('clock_skew', what, { why: 'assertions that we sign look to it as if from the future', fix });
}

export function unknownClockFinding(): Finding {
  return warning('clock_unknown', 'nothing is known of its clock', {
    why: 'it sends no Date header, and issued no token whose "iat" could be compared',
  });
}
