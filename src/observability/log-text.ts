/** A line of the log, as it was written in JSON. */
type Line = Readonly<Record<string, unknown>>;

const COLOURS: Readonly<Record<string, number>> = { fatal: 31, error: 31, warn: 33, info: 32 };
const DIM = 2;
const INDENT = ' '.repeat(19);

/** What is said in words of its own, or is in every line. */
const TOLD = ['time', 'level', 'msg', 'err'];
const TOLD_OF_REQUEST = [...TOLD, 'method', 'route', 'status', 'outcome', 'cache', 'duration_ms', 'error'];
const TOLD_OF_EXCHANGE = [...TOLD, 'route', 'authorization_server', 'result', 'refresh', 'duration_ms', 'error'];

/**
 * The log for a person: time, level and what happened in one line, what is wrong in the next.
 * @param colour for a terminal
 * @returns turns a JSON line into text; what is no JSON stays as it is
 */
export function textLines(colour: boolean): (json: string) => string {
  const painted = (code: number | undefined, text: string): string =>
    colour && code !== undefined ? `\u001b[${code}m${text}\u001b[0m` : text;

  return (json) => {
    const line = parse(json);
    if (line === undefined) return json;
    const level = String(line.level);
    const [said, rest] = tell(line);
    const fields = rest.length === 0 ? '' : `  ${painted(DIM, rest.join(' '))}`;
    const wrong = reasons(line.err).map((reason) => `${INDENT}${reason}\n`);
    const head = `${painted(DIM, clockTime(line.time))} ${painted(COLOURS[level], level.padEnd(5))} ${said}${fields}`;
    return `${head}\n${wrong.join('')}`;
  };
}

/** The sentence of a line, and the fields that it leaves. */
function tell(line: Line): [said: string, rest: string[]] {
  switch (line.msg) {
    case 'request': {
      const { method, route, status, outcome, cache, error } = line;
      return [
        words(method, route ?? 'no route', status, error ?? outcome, cache, ms(line)),
        fieldsOf(line, TOLD_OF_REQUEST),
      ];
    }
    case 'exchange': {
      const { refresh, route, authorization_server: server, result, error } = line;
      const what = refresh === true ? 'refresh' : 'exchange';
      return [words(what, 'for', route, 'at', server, error ?? result, ms(line)), fieldsOf(line, TOLD_OF_EXCHANGE)];
    }
    default:
      return [printable(String(line.msg ?? '')), fieldsOf(line, TOLD)];
  }
}

function words(...all: unknown[]): string {
  return printable(all.filter((word) => word !== undefined).join(' '));
}

function ms({ duration_ms: duration }: Line): string | undefined {
  return typeof duration === 'number' ? `${duration.toFixed(1)} ms` : undefined;
}

function fieldsOf(line: Line, told: readonly string[]): string[] {
  return Object.entries(line)
    .filter(([name]) => !told.includes(name))
    .map(([name, value]) => printable(`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`));
}

/** The messages of an error and of what caused it. */
function reasons(error: unknown): string[] {
  if (typeof error !== 'object' || error === null || !('message' in error)) return [];
  const cause = 'cause' in error ? reasons(error.cause) : [];
  return [printable(String(error.message)), ...cause.map((reason) => `because: ${reason.replace(/^because: /, '')}`)];
}

/** Nothing that a terminal would obey. */
function printable(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ');
}

/** By the clock of whoever looks at it. */
function clockTime(time: unknown): string {
  const at = new Date(String(time));
  if (Number.isNaN(at.getTime())) return String(time);
  const two = (figure: number): string => String(figure).padStart(2, '0');
  const seconds = `${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`;
  return `${two(at.getHours())}:${two(at.getMinutes())}:${seconds}`;
}

function parse(json: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? (value as Line) : undefined;
  } catch {
    return undefined;
  }
}
