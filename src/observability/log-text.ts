import { printable } from './printable.ts';

type Line = Readonly<Record<string, unknown>>;

const COLOURS: Readonly<Record<string, number>> = { fatal: 31, error: 31, warn: 33, info: 32 };
const DIM = 2;
const INDENT = ' '.repeat(19);

/** The message of the line about the start, whose routes come one to a line. */
const START = 'cambist is listening';

/** Fields with a place of their own in every line. */
const PLACED = ['time', 'level', 'msg', 'err', 'finding', 'cause', 'fix'];
const PLACED_OF_START = [...PLACED, 'routes'];
const PLACED_OF_REQUEST = [...PLACED, 'method', 'route', 'status', 'outcome', 'cache', 'duration_ms', 'error'];
const PLACED_OF_EXCHANGE = [...PLACED, 'route', 'authorization_server', 'result', 'refresh', 'duration_ms', 'error'];

/**
 * Turns JSON lines into text for people: time, level and message in one line, and each error message in a line below.
 * @param colour whether a terminal shows the text
 * @returns a function that leaves text other than JSON unchanged
 */
export function textLines(colour: boolean): (json: string) => string {
  const painted = (code: number | undefined, text: string): string =>
    colour && code !== undefined ? `\u001b[${code}m${text}\u001b[0m` : text;

  return (json) => {
    const line = parse(json);
    if (line === undefined) return json;
    const level = String(line.level);
    const [sentence, rest] = describe(line);
    const fields = rest.length === 0 ? '' : `  ${painted(DIM, rest.join(' '))}`;
    const below = [...reasons(line.err), ...diagnosis(line), ...addresses(line)].map((text) => `${INDENT}${text}\n`);
    const first = `${painted(DIM, clockTime(line.time))} ${painted(COLOURS[level], level.padEnd(5))} ${sentence}${fields}`;
    return `${first}\n${below.join('')}`;
  };
}

function describe(line: Line): [sentence: string, rest: string[]] {
  switch (line.msg) {
    case 'request': {
      const { method, route, status, outcome, cache, error } = line;
      return [
        words(method, route ?? 'not routed', status, error ?? outcome, cache, ms(line)),
        fieldsOf(line, PLACED_OF_REQUEST),
      ];
    }
    case 'exchange': {
      const { refresh, route, authorization_server: server, result, error } = line;
      const action = refresh === true ? 'refresh' : 'exchange';
      return [words(action, 'for', route, 'at', server, error ?? result, ms(line)), fieldsOf(line, PLACED_OF_EXCHANGE)];
    }
    case START:
      return [START, fieldsOf(line, PLACED_OF_START)];
    default:
      return [inOneLine(String(line.msg ?? '')), fieldsOf(line, PLACED)];
  }
}

function words(...all: unknown[]): string {
  return inOneLine(all.filter((word) => word !== undefined).join(' '));
}

function ms({ duration_ms: duration }: Line): string | undefined {
  return typeof duration === 'number' ? `${duration.toFixed(1)} ms` : undefined;
}

function fieldsOf(line: Line, placed: readonly string[]): string[] {
  return Object.entries(line)
    .filter(([name]) => !placed.includes(name))
    .map(([name, value]) => inOneLine(`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`));
}

function reasons(error: unknown): string[] {
  if (typeof error !== 'object' || error === null || !('message' in error)) return [];
  const cause = 'cause' in error ? reasons(error.cause) : [];
  return [inOneLine(String(error.message)), ...cause.map((reason) => `because: ${reason.replace(/^because: /, '')}`)];
}

/** The routes and the status page of a line about the start. */
function addresses({ msg, routes, admin }: Line): string[] {
  if (msg !== START) return [];
  const page = `status page: ${String(admin).replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')}/`;
  return [...(Array.isArray(routes) ? routes : []), page].map((text) => inOneLine(String(text)));
}

function diagnosis({ cause, fix }: Line): string[] {
  const lines = Object.entries({ cause, fix }).filter(([, text]) => text !== undefined);
  return lines.map(([name, text]) => `${name}: ${inOneLine(String(text))}`);
}

/** Text from outside in one line. */
function inOneLine(text: string): string {
  return printable(text.replace(/\s+/g, ' '));
}

function clockTime(time: unknown): string {
  const at = new Date(String(time));
  if (Number.isNaN(at.getTime())) return String(time);
  const two = (number: number): string => String(number).padStart(2, '0');
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
