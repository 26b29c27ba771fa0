/** Longest `Retry-After` that is honoured. */
const MAX_RETRY_AFTER_SECONDS = 60;

/** IMF-fixdate, and the two obsolete forms that a recipient must accept (RFC 9110 section 5.6.7). */
const HTTP_DATE = /^(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? [\w :-]+$/;

/**
 * Reads `Retry-After`, from seconds or an HTTP date, and limits it.
 * @returns seconds; undefined when the header is missing or malformed
 * @see RFC 9110 section 10.2.3
 */
export function readRetryAfter(value: string | undefined, wallMs: number): number | undefined {
  const seconds = value === undefined ? undefined : parseRetryAfter(value.trim(), wallMs);
  if (seconds === undefined || Number.isNaN(seconds)) return undefined;
  return Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, Math.ceil(seconds)));
}

function parseRetryAfter(value: string, wallMs: number): number | undefined {
  if (/^\d+$/.test(value)) return Number(value);
  if (!HTTP_DATE.test(value)) return undefined;
  // The asctime form has no zone, and means GMT.
  return (Date.parse(value.endsWith(' GMT') ? value : `${value} GMT`) - wallMs) / 1000;
}
