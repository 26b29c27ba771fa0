import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { ProxyObserver } from '../../../src/observability/proxy-observer.ts';
import type { CacheResult } from '../../../src/observability/token-observer.ts';
import { obtainToken } from '../../../src/proxy/issued-token.ts';
import type { ProxyRequest } from '../../../src/proxy/proxy-request.ts';
import type { Routed } from '../../../src/proxy/steps.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { startReplica } from '../shared-cache/replica.ts';
import { written } from '../shared-cache/store-waits.ts';
import { routeOf, subjectOf } from '../tokens/sample.ts';
import { setUpBroker } from '../tokens/scripted-endpoint.ts';

const route = routeOf();
const session = { subject: subjectOf('alice'), id: undefined };

/** Obtains the token of a session at a replica, with the results that the log line of the request had, one after the other. */
async function start(t: TestContext, server: MemoryStore) {
  const { second } = await startReplica(t, server, { clock: createFakeClock() });
  const { broker, clock, request, lookups } = setUpBroker({ second });
  const results: CacheResult[] = [];
  const record = {
    incoming: { socket: {}, rawHeaders: [] },
    active: { credentialHeaders: new Set() },
    set cacheResult(result: CacheResult) {
      results.push(result);
    },
  };
  const routed = { request: { record } as unknown as ProxyRequest, route } as Routed;
  const options = { broker, clock, observer: {} as ProxyObserver };
  return { obtain: async () => obtainToken(routed, session, options), request, results, lookups };
}

test('logs and counts a token of another replica as shared, and not as a miss', async (t) => {
  const server = createMemoryStore();
  const [one, other] = [await start(t, server), await start(t, server)];
  const first = one.obtain();
  await (await one.request(1)).issue('token');
  await written(server);
  const found = await other.obtain();
  assert.equal(found?.authorization.reveal(), (await first)?.authorization.reveal());
  await other.obtain();
  assert.deepEqual([one.results.at(-1), other.results], ['miss', ['miss', 'shared', 'hit']]);
  assert.deepEqual([one.lookups, other.lookups], [['github miss'], ['github shared', 'github hit']]);
});
