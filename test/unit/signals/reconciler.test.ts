import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { createReconciler } from '../../../src/signals/reconciler.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { ISSUER } from './joined-replica.ts';

for (const [readingMs, pauseMs] of [
  [10, 60_000],
  [1200, 60_000],
  [2000, 100_000],
] as const) {
  test(`reads again ${pauseMs} ms after a reading of ${readingMs} ms, and not after it is closed`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const clock = createFakeClock();
    let readings = 0;
    const reconciler = createReconciler({
      records: {
        async readAll() {
          readings += 1;
          clock.advance(readingMs);
          return { count: 0, unreadable: 0, isFull: false, isMarked: true };
        },
        mark: async () => 'kept',
      },
      known: () => ({ restore: () => 0, list: () => [] }),
      publisher: { publish: () => {}, allShared: async () => {} },
      clock,
      logger: createLogger('info', { write: () => {} }),
      rememberMs: 3_600_000,
      issuers: [ISSUER],
      random: () => 0.5,
      waitMs: 0,
      onRead: () => {},
    });
    await reconciler.refresh();
    t.mock.timers.tick(pauseMs - 1);
    assert.equal(readings, 1);
    t.mock.timers.tick(1);
    assert.equal(readings, 2);
    await reconciler.refresh();
    reconciler.close();
    t.mock.timers.tick(10 * pauseMs);
    assert.equal(readings, 2);
  });
}
