import { LOG_FIELDS, type LogFields } from './log-fields.ts';
import { loggedError } from './logged-error.ts';

/** The text before a value. A literal, because V8 would put it together from the name each time. */
type FieldStart = `,"${(typeof LOG_FIELDS)[number]}":`;

const FIELD_STARTS = Object.fromEntries(LOG_FIELDS.map((name) => [name, `,"${name}":`])) as Record<string, FieldStart>;

const LINE_STARTS = { error: '{"level":"error"', warn: '{"level":"warn"', info: '{"level":"info"' } as const;

export type LineLevel = keyof typeof LINE_STARTS;

/**
 * Writes a log line as JSON. Lines of every request are put together in `proxy/request-line.ts`, for less than half the cost.
 * @param fields undefined ones are left out; a fraction gets three digits
 */
export function logLine(level: LineLevel, fields: LogFields, message: string): string {
  return lineStart(level) + fieldsText(fields) + lineEnd(message);
}

export function lineStart(level: LineLevel): string {
  return LINE_STARTS[level] + isoTime();
}

export function lineEnd(message: string): string {
  return `,"msg":${quoted(message)}}\n`;
}

/** Any fields. The functions for one field below are faster. */
export function fieldsText(fields: LogFields): string {
  let text = '';
  for (const name in fields) {
    const value = fields[name as keyof LogFields];
    if (value === undefined) continue;
    const json = toJson(name, value);
    if (json !== undefined) text += `${FIELD_STARTS[name]}${json}`;
  }
  return text;
}

/** A field with text. Empty for an undefined value. */
export function textField(start: FieldStart, value: string | undefined): string {
  if (value === undefined) return '';
  return PLAIN.test(value) ? `${start}"${value}"` : start + JSON.stringify(value);
}

/** A field with a number. Empty for an undefined value. @param value a fraction gets three digits */
export function numberField(start: FieldStart, value: number | undefined): string {
  return value === undefined ? '' : start + rounded(value);
}

function toJson(name: string, value: unknown): string | undefined {
  if (name === 'err') return JSON.stringify(loggedError(value));
  switch (typeof value) {
    case 'string':
      return quoted(value);
    case 'number':
      return rounded(value);
    default:
      return JSON.stringify(value);
  }
}

/** Printable ASCII without quotes and backslashes, in which JSON escapes nothing. */
const PLAIN = /^[ !#-[\]-~]*$/;

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

/** Largest number whose thousandths are still exact. */
const MAX_FRACTION = Number.MAX_SAFE_INTEGER / 1000;

/** Three digits, put together from integers: V8 takes five times as long for the digits of a fraction. */
function rounded(value: number): string {
  if (Number.isInteger(value)) return String(value);
  if (!(value > 0 && value < MAX_FRACTION)) return JSON.stringify(value);
  const thousandths = Math.round(value * 1000);
  const fraction = thousandths % 1000;
  const zeros = fraction < 10 ? '00' : fraction < 100 ? '0' : '';
  return `${(thousandths - fraction) / 1000}.${zeros}${fraction}`;
}

let lastSecond = { startMs: 0, text: '' };
let lastTime = { ms: 0, text: '' };

/** The current time as a field, in the form of pino. Made once a millisecond, and all but the milliseconds once a second. */
export function isoTime(): string {
  const nowMs = Date.now();
  if (nowMs === lastTime.ms) return lastTime.text;
  const ms = nowMs % 1000;
  const startMs = nowMs - ms;
  if (startMs !== lastSecond.startMs) {
    lastSecond = { startMs, text: new Date(startMs).toISOString().slice(0, -'000Z'.length) };
  }
  // Joined, because V8 would keep a sum in parts, and read them again for each line.
  lastTime = { ms: nowMs, text: [',"time":"', lastSecond.text, String(ms).padStart(3, '0'), 'Z"'].join('') };
  return lastTime.text;
}
