import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeStore } from '../../../src/shared-cache/probe-store.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { SHARED } from './replica.ts';

test('tries a write, a script, a message and a record, and leaves nothing', async () => {
  const server = createMemoryStore();
  const result = await probeStore(SHARED, true, server.connect);
  assert.ok('durationMs' in result);
  assert.deepEqual([server.values.size, server.sets.size, server.records.size, server.messages.length], [0, 0, 0, 1]);
});

test('tells the problem of a server, and its fix', async () => {
  const server = createMemoryStore();
  server.fault = new Error("READONLY You can't write against a read only replica.");
  assert.deepEqual(await probeStore(SHARED, true, server.connect), {
    problem: 'read_only',
    cause: 'READONLY',
    fix: 'connect to the primary, not to a replica',
  });
});
