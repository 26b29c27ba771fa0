import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createExchangeQueue } from '../../../src/tokens/exchange-queue.ts';
import type { Requester } from '../../../src/tokens/requester.ts';
import { deferred } from '../../harness/deferred.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, settle } from './sample.ts';

const TIMEOUT = new CambistError('ERR_STS_UNAVAILABLE', 'timed out');
const alice: Requester = { caller: 'alice', peer: '10.0.0.2' };
const mallory: Requester = { caller: 'mallory', peer: '10.0.0.2' };
const cambist: Requester = { caller: undefined, peer: undefined };

function setUp() {
  const queue = createExchangeQueue('main', 60_000, createFakeClock(), () => {});
  const succeed = (requester: Requester): Promise<string> => queue.run(requester, async () => 'token');
  const fail = (requester: Requester): Promise<void> =>
    assert.rejects(
      queue.run(requester, () => Promise.reject(TIMEOUT)),
      TIMEOUT,
    );
  return { queue, succeed, fail };
}

test('a caller is accepted from its first token on', async () => {
  const { succeed, fail } = setUp();
  await succeed(alice);
  for (let i = 0; i < 3; i += 1) await fail(mallory);
  await assert.rejects(succeed(mallory), failsWith('ERR_STS_UNAVAILABLE'));
  assert.equal(await succeed(alice), 'token');
});

test('a caller whose exchange failed is not accepted', async () => {
  const { succeed, fail } = setUp();
  await fail(alice);
  for (let i = 0; i < 2; i += 1) await fail(mallory);
  await assert.rejects(succeed(alice), failsWith('ERR_STS_UNAVAILABLE'));
});

test('cambist itself is always accepted', async () => {
  const { succeed, fail } = setUp();
  for (let i = 0; i < 3; i += 1) await fail(mallory);
  assert.equal(await succeed(cambist), 'token');
});

test('a caller that is accepted while its request waits passes its peer’s open breaker', async () => {
  const { queue, succeed, fail } = setUp();
  const slow = deferred<string>();
  const running = Array.from({ length: 48 }, (_, i) =>
    queue.run({ caller: `slow-${i}`, peer: '10.0.0.2' }, () => slow.promise),
  );
  const waiting = succeed(alice);
  await succeed({ ...alice, peer: '10.0.0.3' });
  const elsewhere = { ...mallory, peer: '10.0.0.3' };
  for (let i = 0; i < 3; i += 1) await fail(elsewhere);
  slow.resolve('token');
  await settle();
  assert.equal(await waiting, 'token');
  await Promise.all(running);
});

test('remembers the 10,000 most recently used accepted callers', async () => {
  const { succeed, fail } = setUp();
  await succeed(alice);
  for (let i = 0; i < 9_999; i += 1) await succeed({ caller: `caller-${i}`, peer: '10.0.0.3' });
  await succeed(alice);
  await succeed({ caller: 'one-more', peer: '10.0.0.3' });
  for (let i = 0; i < 3; i += 1) await fail(mallory);
  assert.equal(await succeed(alice), 'token');
  await assert.rejects(succeed({ caller: 'caller-0', peer: '10.0.0.2' }), failsWith('ERR_STS_UNAVAILABLE'));
});
