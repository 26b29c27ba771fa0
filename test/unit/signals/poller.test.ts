import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { InvalidSignal } from '../../../src/signals/events.ts';
import { MAX_EVENTS } from '../../../src/signals/poller.ts';
import { MAX_HELD } from '../../../src/signals/settle-events.ts';
import { TransmitterError, TransmitterTimeout, TransmitterTooLarge } from '../../../src/signals/transmitter-client.ts';
import { createHealth } from '../../../src/signals/transmitter-health.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { run, sets } from './polling.ts';

test('polls at once first, then waits for events, and acknowledges those it applied', async () => {
  const taken: string[] = [];
  const { sent, results } = await run([sets('a', 'b'), { sets: {} }, {}], {
    take: async (token) => void taken.push(token),
    delayMs: 2000,
  });
  assert.deepEqual(taken, ['token of a', 'token of b']);
  assert.deepEqual(
    sent.map(({ returnImmediately, ack }) => [returnImmediately, ack]),
    [
      [true, undefined],
      [false, ['a', 'b']],
      [false, undefined],
    ],
  );
  assert.ok(sent.every(({ maxEvents }) => maxEvents === MAX_EVENTS));
  assert.deepEqual(results, [undefined, undefined, undefined]);
});

test('asks again soon while there are events, and where responses are delayed', async () => {
  const delayed = await run([sets('a'), {}, {}], { delayMs: 2000 });
  assert.deepEqual(delayed.pauses, [50, 0, 0]);
  const { pauses } = await run([{ ...sets('a'), moreAvailable: true }, sets('b'), {}, {}]);
  assert.deepEqual(pauses, [50, 50, 5000, 5000]);
});

test('pauses where a transmitter responds at once', async () => {
  assert.deepEqual((await run([{}, {}, {}])).pauses, [0, 5000, 5000]);
});

test('pauses where a transmitter sends settled events again', async () => {
  const { pauses, sent } = await run([sets('a'), sets('a'), sets('a')]);
  assert.deepEqual(pauses, [50, 5000, 5000]);
  assert.deepEqual(sent[2]?.ack, ['a']);
});

test('tells the transmitter which events are invalid, and does not ask for them again', async () => {
  const take = async (token: string) => {
    if (token.endsWith('b')) throw new InvalidSignal('invalid_audience', 'not for cambist');
  };
  const { sent, results } = await run([sets('a', 'b'), {}], { take });
  assert.deepEqual(sent[1]?.ack, ['a']);
  assert.deepEqual(sent[1]?.setErrs, { b: { err: 'invalid_audience', description: 'not for cambist' } });
  assert.deepEqual(results, [undefined, undefined]);
});

test('reports an event whatever its name is', async () => {
  const take = async () => {
    throw new InvalidSignal('invalid_request', 'malformed');
  };
  const { sent, pauses } = await run(['{"sets":{"__proto__":"x"}}', '{"sets":{"__proto__":"x"}}', {}], { take });
  assert.deepEqual(Object.keys(sent[1]?.setErrs ?? {}), ['__proto__']);
  assert.deepEqual(pauses, [50, 5000, 5000]);
});

test('leaves events that it cannot verify yet, and asks for them again', async () => {
  let tries = 0;
  const take = async (token: string) => {
    if (!token.endsWith('b')) return;
    tries += 1;
    if (tries === 1) throw new CambistError('ERR_STS_UNAVAILABLE', 'no keys');
  };
  const { sent, results, pauses } = await run([sets('a', 'b'), sets('b'), {}], { take });
  assert.ok(results[0] instanceof TransmitterError && results[0].problem === 'keys');
  assert.deepEqual(results.slice(1), [undefined, undefined]);
  assert.equal(pauses[0], 1000);
  assert.deepEqual(
    sent.map(({ ack, setErrs }) => [ack, setErrs]),
    [
      [undefined, undefined],
      [['a'], undefined],
      [['b'], undefined],
    ],
  );
});

test('tries an unknown key three times before it calls an event invalid', async () => {
  const take = async () => {
    throw new InvalidSignal('invalid_key', 'unknown key');
  };
  const { sent, results } = await run([sets('a'), sets('a'), sets('a'), {}], { take });
  assert.deepEqual(
    sent.map(({ setErrs }) => setErrs),
    [undefined, undefined, undefined, { a: { err: 'invalid_key', description: 'unknown key' } }],
  );
  assert.deepEqual(
    results.map((error) => (error as TransmitterError | undefined)?.problem),
    ['keys', 'keys', undefined, undefined],
  );
});

test('refuses an event with which it failed three times', async () => {
  const take = async () => {
    throw new RangeError('too deep');
  };
  const { sent } = await run([sets('a'), sets('a'), sets('a'), {}], { take });
  assert.deepEqual(
    sent.map(({ setErrs }) => setErrs),
    [undefined, undefined, undefined, { a: { err: 'invalid_request', description: 'it cannot be read' } }],
  );
});

test('repeats what it settled until a poll succeeds', async () => {
  const lost = new TransmitterError('unreachable', 'gone');
  const { sent, results, pauses } = await run([sets('a'), lost, {}, {}]);
  assert.deepEqual(
    sent.map(({ ack, returnImmediately }) => [ack, returnImmediately]),
    [
      [undefined, true],
      [['a'], false],
      [['a'], true],
      [undefined, false],
    ],
  );
  assert.deepEqual(results, [undefined, lost, undefined, undefined]);
  assert.deepEqual(pauses, [50, 1000, 0, 5000]);
});

test('backs off after failures, up to a minute, and as long as the transmitter wants', async () => {
  const lost = () => new TransmitterError('unreachable', 'gone');
  const { pauses } = await run(Array.from({ length: 8 }, lost));
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  const busy = await run([503, 401, {}]);
  assert.deepEqual(busy.pauses, [40_000, 2000, 0]);
  assert.deepEqual(
    busy.results.map((error) => (error as TransmitterError | undefined)?.problem),
    ['unreachable', 'unauthorized', undefined],
  );
});

test('counts a long poll that gets no response as no failure, and sends a short poll', async () => {
  const late = new TransmitterTimeout('unreachable', 'late');
  const { sent, results, pauses } = await run([{}, late, late, {}]);
  assert.deepEqual(
    sent.map(({ returnImmediately }) => returnImmediately),
    [true, false, true, true],
  );
  assert.deepEqual(results, [undefined, late, undefined]);
  assert.deepEqual(pauses, [0, 0, 1000, 0]);
  assert.ok((sent[1]?.timeoutMs ?? 0) > (sent[0]?.timeoutMs ?? 0));
});

test('asks for fewer events after a response that is too large', async () => {
  const large = new TransmitterTooLarge('response', 'too large');
  const { sent } = await run([large, large, { ...sets('a'), moreAvailable: true }, {}, {}]);
  assert.deepEqual(
    sent.map(({ maxEvents }) => maxEvents),
    [MAX_EVENTS, MAX_EVENTS / 2, Math.floor(MAX_EVENTS / 4), Math.floor(MAX_EVENTS / 4), MAX_EVENTS],
  );
});

test('reports a stream that the transmitter does not know', async () => {
  const { results } = await run([404, {}]);
  assert.equal((results[0] as TransmitterError).problem, 'stream');
});

test('survives every response, and takes no more events than it asked for', async () => {
  const body = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.string(),
    fc
      .record({ sets: fc.dictionary(fc.string(), fc.jsonValue()), moreAvailable: fc.jsonValue() })
      .map((one) => JSON.stringify(one)),
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
  assert.deepEqual(
    sent.map(({ ack }) => ack),
    [undefined, undefined, undefined, ['c', 'a', 'b']],
  );
  assert.deepEqual(
    sent.map(({ maxEvents }) => maxEvents - MAX_EVENTS),
    [0, 2, 2, 0],
  );
  assert.deepEqual(pauses.slice(0, 3), [50, 5000, 50]);
  assert.deepEqual(new Set(results), new Set([undefined]));
});

test('leaves no more than a hundred events at the transmitter, so that new ones arrive', async () => {
  const names = (from: number) => Array.from({ length: MAX_EVENTS }, (_, at) => `event-${from + at}`);
  const replies = [0, MAX_EVENTS, 2 * MAX_EVENTS].map((from) => sets(...names(from)));
  const { sent } = await run([...replies, {}], { take: async () => false, isShared: () => false });
  assert.deepEqual(sent[3]?.ack, names(0));
  assert.equal(sent[3]?.maxEvents, MAX_EVENTS + MAX_HELD);
});

test('acknowledges what it left at the transmitter if the response is too large with it', async () => {
  const { sent } = await run([sets('a'), new TransmitterTooLarge('response', 'too large'), {}], {
    take: async () => false,
    isShared: () => false,
  });
  assert.deepEqual(sent[2]?.ack, ['a']);
});

const MINUTE = 60_000;

function start() {
  const clock = createFakeClock();
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line: string) => void lines.push(line) });
  const health = createHealth('idp', ['poll'], { clock, logger });
  const messages = () => lines.map((line) => (JSON.parse(line) as { msg: string; reason?: string }).reason ?? 'works');
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
  assert.deepEqual(messages(), ['internal']);
  assert.deepEqual(
    [problem, cause, fix],
    ['internal', 'unexpected error: see the log', 'report it, with the log line'],
  );
});

test('says when the last signal and the last poll were', () => {
  const { clock, health } = start();
  health.signalled();
  clock.advance(MINUTE);
  health.polled();
  const { last_signal_at: signal, last_poll_at: poll } = health.status();
  assert.equal(Date.parse(poll ?? '') - Date.parse(signal ?? ''), MINUTE);
  assert.equal(health.lastSignalMs, clock.wallMs() - MINUTE);
});
