import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { openState, sealState } from '../../../src/proxy/consent-state.ts';
import { openSharedCache } from '../../../src/shared-cache/shared-cache.ts';
import { eventually } from '../../harness/eventually.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { subjectOf } from '../tokens/sample.ts';
import { SHARED } from './replica.ts';

const VARIABLE = 'SHARED_CACHE_TEST_KEY';

async function open(t: TestContext, server: MemoryStore) {
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line: string) => void lines.push(line) });
  const side = await openSharedCache(
    { ...SHARED, keys: [{ env: VARIABLE }] },
    { clock: systemClock, logger, maxAgeMs: () => 300_000, connect: server.connect },
  );
  t.after(side.close);
  return { ...side, lines };
}

test('replicas open the states of consent of each other', async (t) => {
  process.env[VARIABLE] = 'the key that both replicas read from their environment';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const server = createMemoryStore();
  const [one, other] = [await open(t, server), await open(t, server)];
  const bound = { subject: subjectOf('alice'), route: 'github', method: 'tools/call', params: { name: 'a' } };
  const state = sealState({ requestState: 'mine' }, bound, one.stateKeys, systemClock.wallMs());
  assert.ok(state);
  assert.equal(openState(state, bound, other.stateKeys, systemClock.wallMs())?.requestState, 'mine');
});

test('without a usable key it starts, says why, and seals states for itself alone', async (t) => {
  process.env[VARIABLE] = 'short';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const server = createMemoryStore();
  const side = await open(t, server);
  assert.equal(side.status().problem, 'credential');
  assert.match(side.status().fix ?? '', /keys of 32 characters or more/);
  assert.equal(side.stateKeys()[0]?.length, 32);
  assert.equal(side.handles.digestOf('token'), undefined);
  process.env[VARIABLE] = 'a key that is long enough by any measure';
  await eventually('it is available', () => side.status().available);
  assert.deepEqual(
    side.lines.map((line) => JSON.parse(line).msg),
    ['shared cache is unavailable; exchanging without it', 'shared cache is available'],
  );
  assert.ok(side.handles.digestOf('token'));
});
