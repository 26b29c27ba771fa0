import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { InvalidSignal } from '../../../src/signals/events.ts';
import { createPoller, MAX_EVENTS } from '../../../src/signals/poller.ts';
import { MAX_HELD } from '../../../src/signals/settle-events.ts';
import { readPollResponse, TransmitterError } from '../../../src/signals/transmitter-client.ts';
import { createHealth } from '../../../src/signals/transmitter-health.ts';
import type { HttpResponse } from '../../../src/tokens/bounded-request.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

interface Sent {
  readonly maxEvents: number;
  readonly returnImmediately: boolean;
  readonly ack?: readonly string[];
  readonly setErrs?: object;
  readonly timeoutMs: number;
  /** The error that this poll reported. */
  problem?: TransmitterError | undefined;
}

type Reply = object | string | number | Error;

interface RunOptions {
  readonly take?: (token: string) => Promise<unknown>;
  readonly delayMs?: number;
  readonly isShared?: () => boolean;
}

/** A poller whose transmitter gives these replies, and whose pauses end at once. It stops after the last reply. */
async function run(
  replies: readonly Reply[],
  { take = async () => true, delayMs = 0, isShared = () => true }: RunOptions = {},
) {
  const clock = createFakeClock();
  const sent: Sent[] = [];
  const results: unknown[] = [];
  const pauses: number[] = [];
  let finish = () => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const left = [...replies];
  const poller = createPoller({
    name: 'idp',
    async poll(body, timeoutMs) {
      sent.push({ ...(JSON.parse(JSON.stringify(body)) as Omit<Sent, 'timeoutMs'>), timeoutMs });
      clock.advance(delayMs);
      const reply = left.shift();
      if (reply instanceof Error) throw reply;
      return readPollResponse(responseOf(reply ?? {}), 'idp', body.maxEvents, 0);
    },
    intervalMs: 5000,
    async take(token) {
      const isTaken = (await take(token)) !== false;
      return () => isTaken || isShared();
    },
    onResult(error) {
      results.push(error);
      (sent.at(-1) as Sent).problem = error as TransmitterError | undefined;
    },
    clock,
    random: () => 1,
    async sleep(ms) {
      pauses.push(ms);
      if (left.length > 0) return;
      poller.stop();
      finish();
    },
  });
  poller.start();
  await finished;
  return { sent, results, pauses };
}

function responseOf(reply: Exclude<Reply, Error>): HttpResponse {
  if (typeof reply === 'number') return { status: reply, retryAfter: '40', text: '' };
  return { status: 200, retryAfter: undefined, text: typeof reply === 'string' ? reply : JSON.stringify(reply) };
}

const sets = (...names: string[]) => ({
  sets: Object.fromEntries(names.map((name) => [name, `token of ${name}`])),
});

/** `short` or `long`, what it acknowledges and refuses, the pause after it, and a problem. */
function transcript({ sent, pauses }: Awaited<ReturnType<typeof run>>): string[] {
  return sent.map(({ returnImmediately, ack, setErrs, problem }, poll) => {
    const refused = Object.entries(setErrs ?? {}).map(([name, { err }]) => `${name}: ${err}`);
    return [
      returnImmediately ? 'short' : 'long',
      ...(ack === undefined ? [] : [`ack ${ack}`]),
      ...refused,
      pauses[poll],
      ...(problem === undefined ? [] : [problem.problem]),
    ].join(', ');
  });
}

type Case = readonly [what: string, replies: readonly Reply[], transcript: readonly string[], options?: RunOptions];

const fails =
  (error: Error, token = '', times = Number.POSITIVE_INFINITY) =>
  async (taken: string): Promise<void> => {
    if (!taken.endsWith(token) || times === 0) return;
    times -= 1;
    throw error;
  };

const lost = new TransmitterError('unreachable', 'gone');
const late = new TransmitterError('unreachable', 'late', { cause: new DOMException('late', 'TimeoutError') });
const invalid = new InvalidSignal('invalid_audience', 'not for cambist');
const unknownKey = new InvalidSignal('invalid_key', 'unknown key');
const noKeys = new CambistError('ERR_STS_UNAVAILABLE', 'no keys');
const malformed = new InvalidSignal('invalid_request', 'malformed');
const onlyHere = { take: async () => false, isShared: () => false };

const CASES: readonly Case[] = [
  [
    'polls at once first, then waits for events, and acknowledges those it applied',
    [sets('a', 'b'), { sets: {} }, {}],
    ['short, 50', 'long, ack a,b, 0', 'long, 0'],
    { delayMs: 2000 },
  ],
  [
    'asks again soon while there are events, and pauses where the transmitter responds at once',
    [{ ...sets('a'), moreAvailable: true }, sets('b'), {}, {}],
    ['short, 50', 'long, ack a, 50', 'long, ack b, 5000', 'long, 5000'],
  ],
  ['sends a long poll after an empty short one', [{}, {}, {}], ['short, 0', 'long, 5000', 'long, 5000']],
  [
    'pauses where a transmitter sends settled events again',
    [sets('a'), sets('a'), sets('a')],
    ['short, 50', 'long, ack a, 5000', 'long, ack a, 5000'],
  ],
  [
    'tells the transmitter which events are invalid, and does not ask for them again',
    [sets('a', 'b'), {}],
    ['short, 50', 'long, ack a, b: invalid_audience, 5000'],
    { take: fails(invalid, 'b') },
  ],
  [
    'reports an event whatever its name is',
    ['{"sets":{"__proto__":"x"}}', '{"sets":{"__proto__":"x"}}', {}],
    ['short, 50', 'long, __proto__: invalid_request, 5000', 'long, __proto__: invalid_request, 5000'],
    { take: fails(malformed) },
  ],
  [
    'leaves events that it cannot verify yet, and asks for them again',
    [sets('a', 'b'), sets('b'), {}],
    ['short, 1000, keys', 'short, ack a, 50', 'long, ack b, 5000'],
    { take: fails(noKeys, 'b', 1) },
  ],
  [
    'tries an unknown key three times before it calls an event invalid',
    [sets('a'), sets('a'), sets('a'), {}],
    ['short, 1000, keys', 'short, 2000, keys', 'short, 50', 'long, a: invalid_key, 5000'],
    { take: fails(unknownKey) },
  ],
  [
    'refuses an event with which it failed three times',
    [sets('a'), sets('a'), sets('a'), {}],
    ['short, 1000, keys', 'short, 2000, keys', 'short, 50', 'long, a: invalid_request, 5000'],
    { take: fails(new RangeError('too deep')) },
  ],
  [
    'repeats what it settled until a poll succeeds',
    [sets('a'), lost, {}, {}],
    ['short, 50', 'long, ack a, 1000, unreachable', 'short, ack a, 0', 'long, 5000'],
  ],
  [
    'backs off after failures, up to a minute',
    Array.from({ length: 8 }, () => lost),
    [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000].map((ms) => `short, ${ms}, unreachable`),
  ],
  [
    'backs off as long as the transmitter wants, and reports a stream that it does not know',
    [503, 401, 404, {}],
    ['short, 40000, unreachable', 'short, 2000, unauthorized', 'short, 4000, stream', 'short, 0'],
  ],
  [
    'counts a long poll that gets no response as no failure, and sends a short poll',
    [{}, late, late, {}],
    ['short, 0', 'long, 0', 'short, 1000, unreachable', 'short, 0'],
  ],
];

for (const [what, replies, expected, options] of CASES) {
  test(what, async () => assert.deepEqual(transcript(await run(replies, options)), expected));
}

test('takes the tokens of the events, and waits longer for a long poll', async () => {
  const taken: string[] = [];
  const { sent } = await run([sets('a', 'b'), {}], { take: async (token) => void taken.push(token) });
  assert.deepEqual(taken, ['token of a', 'token of b']);
  assert.ok((sent[1]?.timeoutMs ?? 0) > (sent[0]?.timeoutMs ?? 0));
});

test('survives every response, and takes no more events than it asked for', async () => {
  const sent = fc.record({ sets: fc.dictionary(fc.string(), fc.jsonValue()), moreAvailable: fc.jsonValue() });
  const body = fc.oneof(
    fc.string(),
    fc.oneof(fc.jsonValue(), sent).map((value) => JSON.stringify(value)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(body, { minLength: 1, maxLength: 4 }), async (bodies) => {
      let taken = 0;
      const take = async () => {
        taken += 1;
      };
      const { results, sent } = await run(bodies, { take });
      assert.equal(results.length, bodies.length);
      assert.ok(taken <= bodies.length * MAX_EVENTS);
      for (const error of results) assert.ok(error === undefined || error instanceof TransmitterError, String(error));
      for (const { ack = [] } of sent) assert.ok(ack.length <= 2 * MAX_EVENTS);
    }),
    { numRuns: 100 },
  );
});

test('leaves an event that only this process knows at the transmitter, until the shared cache has it', async () => {
  const state = { isShared: false, taken: [] as string[] };
  const { sent, pauses, results } = await run([sets('a', 'b'), sets('a', 'b'), sets('a', 'b', 'c'), {}], {
    take: async (token) => {
      state.taken.push(token);
      if (token === 'token of c') state.isShared = true;
      return state.isShared;
    },
    isShared: () => state.isShared,
  });
  assert.deepEqual(state.taken, ['token of a', 'token of b', 'token of c']);
  const polls = sent.map(({ ack = [], maxEvents }) => `${maxEvents - MAX_EVENTS} more, ack ${ack}`);
  assert.deepEqual(polls, ['0 more, ack ', '2 more, ack ', '2 more, ack ', '0 more, ack c,a,b']);
  assert.deepEqual(pauses.slice(0, 3), [50, 5000, 50]);
  assert.deepEqual(new Set(results), new Set([undefined]));
});

test('leaves no more than forty events at the transmitter, so that new ones arrive', async () => {
  const names = (from: number) => Array.from({ length: MAX_EVENTS }, (_, at) => `event-${from + at}`);
  const replies = [0, MAX_EVENTS, 2 * MAX_EVENTS].map((from) => sets(...names(from)));
  const { sent } = await run([...replies, {}], onlyHere);
  assert.deepEqual(sent[3]?.ack, names(0));
  assert.equal(sent[3]?.maxEvents, MAX_EVENTS + MAX_HELD);
});

const MINUTE = 60_000;

function start() {
  const clock = createFakeClock();
  const { logger, lines } = loggerWithLines();
  const health = createHealth('idp', ['poll'], { clock, logger });
  const messages = () => lines.map(({ reason }) => reason ?? 'works');
  return { clock, health, messages };
}

test('logs each change once, and is available when no part fails', () => {
  const { clock, health, messages } = start();
  const down = new TransmitterError('unreachable', 'it is down');
  health.failed('poll', down);
  clock.advance(MINUTE);
  health.failed('poll', down);
  health.failed('keys', new TransmitterError('keys', 'no keys'));
  assert.deepEqual(messages(), ['unreachable', 'keys']);
  const { problem, cause, since, available } = health.status();
  assert.deepEqual([problem, cause, available], ['unreachable', 'it is down', false]);
  assert.equal(since, new Date(clock.wallMs() - MINUTE).toISOString());
  health.worked('poll');
  assert.equal(health.isAvailable, false);
  health.worked('keys');
  health.worked('keys');
  assert.equal(health.isAvailable, true);
  assert.deepEqual(messages(), ['unreachable', 'keys', 'works']);
  assert.deepEqual(health.status(), { name: 'idp', channels: ['poll'], available: true });
});

test('forgets that signals could not be verified, because the next one may be hours away', () => {
  const { clock, health, messages } = start();
  const failure = new TransmitterError('keys', 'no keys');
  health.failed('keys', failure);
  clock.advance(9 * MINUTE);
  health.failed('keys', failure);
  clock.advance(9 * MINUTE);
  assert.equal(health.isAvailable, false);
  assert.deepEqual(messages(), ['keys']);
  clock.advance(MINUTE);
  health.sweep();
  health.sweep();
  assert.equal(health.isAvailable, true);
  assert.deepEqual(messages(), ['keys', 'works']);
  health.failed('poll', failure);
  clock.advance(60 * MINUTE);
  assert.equal(health.isAvailable, false);
});

test('tells an unexpected error from a failure of the transmitter, and shows none of its text', () => {
  const { health, messages } = start();
  health.failed('poll', new TypeError('at https://idp.example.com/poll'));
  const { problem, cause, fix } = health.status();
  assert.deepEqual([...messages(), problem], ['internal', 'internal']);
  assert.deepEqual([cause, fix], ['unexpected error: see the log', 'report it, with the log line']);
});

test('says when the last signal and the last poll were', () => {
  const { clock, health } = start();
  health.signalled();
  clock.advance(MINUTE);
  health.polled('success');
  const { last_signal_at: signal, last_poll_at: poll } = health.status();
  assert.equal(Date.parse(poll ?? '') - Date.parse(signal ?? ''), MINUTE);
  assert.equal(health.lastSignalMs, clock.wallMs() - MINUTE);
});
