import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { withDeadline } from '../../../src/tokens/deadline.ts';

const HOUR_MS = 3_600_000;

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

test('work that takes too long is told so by its signal', async () => {
  const reason = await withDeadline(1, async (signal) => {
    await once(signal, 'abort');
    return signal.reason;
  });
  assert.ok(reason instanceof DOMException);
  assert.equal(reason.name, 'TimeoutError');
});

test('nothing waits for the deadline of work that is done, or has failed', async () => {
  const before = timers();
  const signals: AbortSignal[] = [];
  const during = await withDeadline(HOUR_MS, async (signal) => {
    signals.push(signal);
    return timers();
  });
  assert.equal(during, before + 1);
  await assert.rejects(
    withDeadline(HOUR_MS, async () => {
      throw new Error('it failed');
    }),
    /it failed/,
  );
  assert.equal(timers(), before);
  assert.equal(signals[0]?.aborted, false);
});
