import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CACHE_RESULTS, EVICTION_REASONS } from '../../../src/observability/token-observer.ts';

test('lists each label value once', () => {
  assert.deepEqual([...new Set(CACHE_RESULTS)], ['hit', 'shared', 'miss', 'joined', 'negative', 'bypass']);
  assert.deepEqual(
    [...new Set(EVICTION_REASONS)],
    ['capacity', 'expired', 'refused', 'session_ended', 'idle', 'revoked'],
  );
});
