import { type Agent, type IncomingMessage, type OutgoingHttpHeaders, request, type ServerResponse } from 'node:http';
import { parseArgs } from 'node:util';
import { eventually } from '../harness/eventually.ts';
import { sumSamples } from '../harness/metric-samples.ts';

/** Chaos and soak share their arguments, a call, and the check of leftovers. */

/**
 * Reads the options of a run, which are numbers, and a seed. Prints the usage if one is wrong.
 * @returns the exit code instead, if there is nothing to run
 */
export function readRun<Name extends string>(
  usage: string,
  defaults: Readonly<Record<Name, number>>,
): Readonly<Record<Name | 'seed', number>> | number {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const numbers = Object.entries({ ...defaults, seed });
  const options = Object.fromEntries(
    numbers.map(([name, value]) => [name, { type: 'string' as const, default: String(value) }]),
  );
  const { values } = parseArgs({ options: { ...options, help: { type: 'boolean', short: 'h' } } });
  const read = Object.fromEntries(numbers.map(([name]) => [name, Number((values as Record<string, unknown>)[name])]));
  const isValid = Object.keys(defaults).every((name) => Number(read[name]) > 0) && Number.isSafeInteger(read.seed);
  if (!values.help && isValid) return read as Record<Name | 'seed', number>;
  process.stdout.write(usage);
  return values.help ? 0 : 2;
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Counts outcomes by their names. */
export function createCounts(): { readonly outcomes: ReadonlyMap<string, number>; count(outcome: string): void } {
  const outcomes = new Map<string, number>();
  return { outcomes, count: (outcome) => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1) };
}

/** Streams events for a time. */
export function streamEvents(response: ServerResponse, intervalMs: number, lengthMs: number): void {
  const timer = setInterval(() => response.write('data: tick\n\n'), intervalMs);
  const end = setTimeout(() => response.end(), lengthMs);
  response.once('close', () => {
    clearInterval(timer);
    clearTimeout(end);
  });
}

/** A POST. `onResponse` sees the response headers. @returns the status once the response is complete; 0 without a response */
export function post(
  url: string,
  options: { readonly agent: Agent; readonly path: string; readonly headers: OutgoingHttpHeaders; timeout?: number },
  body: string | Buffer,
  onResponse: (response: IncomingMessage) => void = () => {},
): { readonly status: Promise<number>; leave(): void } {
  const sent = request(url, { ...options, method: 'POST' });
  const status = new Promise<number>((resolve) => {
    sent.once('timeout', () => sent.destroy());
    sent.once('error', () => resolve(0));
    sent.once('response', (response) => {
      onResponse(response);
      response.resume();
      response.once('close', () => resolve(response.statusCode ?? 0));
    });
  });
  sent.end(body);
  return { status, leave: () => sent.destroy() };
}

const GAUGES = ['cambist_requests_in_flight', 'cambist_open_streams', 'cambist_open_tunnels'];
/** Time for the last requests and connections to end. */
export const DRAIN_MS = 20_000;

/** With no caller left, every gauge is 0, and no connection of a caller is open. @returns what is left after a while */
export async function findLeftovers(metrics: () => Promise<string>): Promise<string[]> {
  let left: string[] = [];
  const isQuiet = async (): Promise<boolean> => {
    const text = await metrics();
    const values = GAUGES.map((gauge) => [gauge, sumSamples(text, gauge)] as const);
    const callers = sumSamples(text, 'cambist_connections', { listener: 'listen' });
    left = [...values, ['connections of callers', callers] as const].flatMap(([what, value]) =>
      value === 0 ? [] : [`${what}: ${value}`],
    );
    return left.length === 0;
  };
  await eventually('nothing is left', isQuiet, DRAIN_MS).catch(() => {});
  return left;
}
