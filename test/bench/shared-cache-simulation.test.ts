import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from './programs/random.ts';
import { type SharedCacheOptions, simulateSharedCache } from './shared-cache-simulation.ts';

const run = (more: Partial<SharedCacheOptions>) =>
  simulateSharedCache({
    replicas: 4,
    callers: 10,
    requestsPerSecond: 100,
    endSeconds: 20,
    expiresInSeconds: 3600,
    maxAgeSeconds: 3600,
    maxEntries: 1000,
    shared: true,
    sticky: false,
    random: createRandom(7),
    ...more,
  });
const sum = (counts: readonly { exchanges: number }[]) => counts.reduce((total, { exchanges }) => total + exchanges, 0);

test('replicas without a shared cache exchange each caller once each, and those with one exchange it once', () => {
  assert.equal(sum(run({ shared: false })), 40);
  const shared = run({});
  assert.equal(sum(shared), 10);
  assert.equal(shared.at(-1)?.entries, 10);
});

test('a restart costs exchanges only where the cache is not shared', () => {
  const after = (shared: boolean) => sum(run({ shared, restartSecond: 10 }).slice(10));
  assert.deepEqual([after(true), after(false)], [0, 40]);
});

test('a caller that reaches one replica only is exchanged once there', () => {
  assert.equal(sum(run({ shared: false, sticky: true })), 10);
});

test('tokens leave the store when they expire, and are replaced before while their callers return', () => {
  const seconds = run({ expiresInSeconds: 10, endSeconds: 40 });
  for (const { entries } of seconds.slice(2)) assert.equal(entries, 10);
  const left = simulateSharedCache({
    replicas: 1,
    callers: 10,
    requestsPerSecond: 0,
    endSeconds: 3,
    expiresInSeconds: 10,
    maxAgeSeconds: 10,
    maxEntries: 10,
    shared: true,
    sticky: false,
    random: createRandom(7),
  });
  assert.deepEqual(
    left.map(({ entries }) => entries),
    [0, 0, 0],
  );
});
