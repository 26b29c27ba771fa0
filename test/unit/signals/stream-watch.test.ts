import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TransmitterError } from '../../../src/signals/problems.ts';
import type { Stream } from '../../../src/signals/stream.ts';
import { createStreamWatch } from '../../../src/signals/stream-watch.ts';
import { toRequestUrl } from '../../../src/tokens/bounded-request.ts';

const STREAM: Stream = {
  pollUrl: undefined,
  id: 'stream-1',
  statusUrl: toRequestUrl('https://idp.example.com/status'),
  verificationUrl: toRequestUrl('https://idp.example.com/verify'),
};

interface Setup {
  readonly delivery?: 'push' | 'poll';
  readonly isAlone?: boolean;
  readonly stream?: Stream;
  readonly locate?: () => Promise<Stream>;
  readonly status?: () => unknown;
  readonly verified?: number;
}

/** A watch whose pauses end when the test says so. */
function start({ delivery = 'push', isAlone = true, stream = STREAM, verified = 204, ...more }: Setup = {}) {
  const events: string[] = [];
  const states: string[] = [];
  const pauses: number[] = [];
  let next = () => {};
  let paused = () => {};
  const watch = createStreamWatch({
    name: 'idp',
    delivery,
    isAlone,
    client: {
      async get() {
        const status = more.status?.() ?? 'enabled';
        return { status: 200, retryAfter: undefined, text: JSON.stringify({ status }) };
      },
      async post(_url, body) {
        states.push((body as { state: string }).state);
        return { status: verified, retryAfter: undefined, text: '' };
      },
    },
    locate: more.locate ?? (async () => stream),
    health: {
      failed: (part, error) => void events.push(`${part} ${(error as TransmitterError).problem}`),
      worked: (part) => void events.push(`${part} works`),
    },
    pause: {
      wait(ms) {
        pauses.push(ms);
        paused();
        return new Promise((resolve) => (next = resolve));
      },
      end: () => next(),
    },
  });
  /** Runs the next check, until its pause. */
  const check = async (first = false): Promise<void> => {
    const isPaused = new Promise<void>((resolve) => (paused = resolve));
    if (first) watch.start();
    else next();
    await isPaused;
  };
  return { watch, check, events, states, pauses };
}

test('asks for a verification event, and reports that it did not arrive', async () => {
  const { watch, check, events, states, pauses } = start();
  await check(true);
  assert.deepEqual(events, ['stream works']);
  await check();
  assert.deepEqual(events.slice(1), ['verification unverified', 'stream works']);
  watch.verified('another state');
  assert.equal(events.length, 3);
  watch.verified(states[1] ?? '');
  assert.deepEqual(events.slice(3), ['verification works']);
  await check();
  await check();
  assert.deepEqual(events.slice(4), ['stream works']);
  assert.equal(new Set(states).size, 3);
  assert.deepEqual(pauses, [120_000, 120_000, 480_000, 120_000]);
  watch.stop();
});

test('asks every ten minutes while verification events arrive', async () => {
  const { watch, check, events, states, pauses } = start();
  await check(true);
  for (const round of [0, 1]) {
    watch.verified(states[round] ?? '');
    await check();
    // The first part of the pause is over. Nothing was asked at its end.
    assert.equal(states.length, round + 1);
    await check();
    assert.equal(states.length, round + 2);
  }
  assert.deepEqual(pauses, [120_000, 480_000, 120_000, 480_000, 120_000]);
  assert.ok(!events.includes('verification unverified'));
  watch.stop();
});

test('waits longer where the transmitter sends no verification event', async () => {
  for (const verified of [401, 404, 429]) {
    const { watch, check, events, pauses } = start({ verified });
    await check(true);
    await check();
    assert.deepEqual(events, ['stream works', 'stream works']);
    assert.deepEqual(pauses, [600_000, 600_000]);
    watch.stop();
  }
});

test('reports no missing event where another replica may have it', async () => {
  const { watch, check, events, pauses } = start({ isAlone: false });
  await check(true);
  await check();
  await check();
  assert.deepEqual(events, ['stream works', 'stream works']);
  assert.deepEqual(pauses, [120_000, 480_000, 120_000]);
  watch.stop();
});

test('reports a stream that is paused, until it is enabled', async () => {
  for (const delivery of ['push', 'poll'] as const) {
    let status = 'paused';
    const { watch, check, events, pauses } = start({
      delivery,
      status: () => status,
      stream: { ...STREAM, verificationUrl: undefined },
    });
    await check(true);
    status = 'enabled';
    await check();
    assert.deepEqual(events, ['stream paused', 'stream works']);
    assert.deepEqual(pauses, [60_000, 600_000]);
    watch.stop();
  }
});

test('reports a transmitter that cannot be asked for push alone, because polls report it themselves', async () => {
  const locate = async (): Promise<Stream> => {
    throw new TransmitterError('unauthorized', 'refused');
  };
  for (const [delivery, expected] of [
    ['push', ['stream unauthorized']],
    ['poll', []],
  ] as const) {
    const { watch, check, events } = start({ delivery, locate });
    await check(true);
    assert.deepEqual(events, expected);
    watch.stop();
  }
});
