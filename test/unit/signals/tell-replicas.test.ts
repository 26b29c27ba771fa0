import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createLogger } from '../../../src/observability/logger.ts';
import { toWire } from '../../../src/signals/replica-wire.ts';
import { createTeller, type TellerOptions } from '../../../src/signals/tell-replicas.ts';
import { MAX_REVOCATIONS } from '../../../src/tokens/revocations.ts';
import { ISSUER } from './joined-replica.ts';

const entry = (name: number | string, atMs = 1) => ({ key: String(name).padStart(43, 'x'), issuer: ISSUER, atMs });

/** A teller, with what it published. @param onKeep runs while the store keeps the batch of this number, from 1 */
function startTeller(onKeep: (number: number) => 'kept' | 'failed' | undefined = () => undefined) {
  const published: unknown[] = [];
  let batches = 0;
  const keep: TellerOptions['keep'] = async (batch) => {
    batches += 1;
    const result = onKeep(batches) ?? 'kept';
    await setImmediate();
    return batch.map(() => result);
  };
  const teller = createTeller({
    messages: { publish: async (_topic, payload) => published.push(...(payload as unknown[])) > 0 },
    keep,
    logger: createLogger('info', { write: () => {} }),
    onFailed: () => {},
  });
  return { teller, published, batches: () => batches };
}

test('a caller waits for its own revocations, but not for those that others keep adding', async () => {
  const { teller, batches } = startTeller((number) => {
    if (number < 50) teller.tell(entry(number));
    return undefined;
  });
  teller.tell(entry('own'));
  assert.equal(await teller.settled(), true);
  assert.ok(batches() <= 2);
});

test('a caller waits until its revocation was told, even if it replaces one that is being told', async () => {
  let later: Promise<boolean> | undefined;
  const { teller, published } = startTeller((number) => {
    if (number > 1) return undefined;
    teller.tell(entry('alice', 2));
    later = teller.settled();
    return undefined;
  });
  teller.tell(entry('alice', 1));
  assert.equal(await teller.settled(), true);
  assert.deepEqual(published, [toWire(entry('alice', 1))]);
  assert.equal(await later, true);
  assert.deepEqual(published, [toWire(entry('alice', 1)), toWire(entry('alice', 2))]);
});

test('each caller learns whether the store took its own revocations', async () => {
  const later: Promise<boolean>[] = [];
  const { teller, batches } = startTeller((number) => {
    if (number < 3) {
      teller.tell(entry(number));
      later.push(teller.settled());
    }
    return number === 2 ? 'failed' : 'kept';
  });
  teller.tell(entry('own'));
  assert.equal(await teller.settled(), true);
  // The last one was not tried, because the store does not work.
  assert.deepEqual(await Promise.all(later), [false, false]);
  assert.deepEqual([teller.unshared, batches()], [2, 2]);
  assert.equal(await teller.settled(), false);
  teller.retry();
  assert.equal(await teller.settled(), true);
});

test('tells what is added as soon as a caller has settled', async () => {
  const { teller } = startTeller();
  for (const name of ['alice', 'bob', 'carol']) {
    teller.tell(entry(name));
    assert.equal(await teller.settled(), true);
  }
  assert.equal(teller.unshared, 0);
});

test('everything that a full list has can wait, and no more than twice of it', async () => {
  const { teller } = startTeller(() => 'failed');
  teller.tell({ key: '', issuer: ISSUER, atMs: 1 });
  for (let number = 0; number < MAX_REVOCATIONS; number += 1) teller.tell(entry(number));
  assert.equal(teller.unshared, MAX_REVOCATIONS + 1);
  for (let number = 0; number < MAX_REVOCATIONS; number += 1) teller.tell(entry(MAX_REVOCATIONS + number));
  assert.equal(teller.unshared, 2 * MAX_REVOCATIONS);
  assert.equal(await teller.settled(), false);
});
