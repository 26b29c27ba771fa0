import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createExchangeQueue, createLimiter } from '../../../src/tokens/exchange-queue.ts';
import type { RankedRequester, Requester } from '../../../src/tokens/requester.ts';
import { deferred } from '../../harness/deferred.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, settle } from './sample.ts';

const IN_FLIGHT = 64;
const IN_FLIGHT_RANK = 56;
const IN_FLIGHT_EACH = 48;
const WAITING = 1024;

const accepted = (caller: string): RankedRequester => ({ caller, peer: '10.0.0.1', accepted: true });
const unknown = (caller: string, peer = '10.0.0.1'): RankedRequester => ({ caller, peer, accepted: false });

/** Work that stays in flight until a test finishes it. */
function setUp(maxWaitMs = 60_000) {
  const limiter = createLimiter('main', maxWaitMs);
  /** In the order in which they started. */
  const started: { readonly caller: string; readonly work: ReturnType<typeof deferred<string>> }[] = [];
  const start = (requester: RankedRequester): Promise<string> =>
    limiter.run(requester, () => {
      const work = deferred<string>();
      started.push({ caller: requester.caller ?? 'cambist', work });
      return work.promise;
    });
  const startMany = (count: number, requester: (number: number) => RankedRequester): Promise<string>[] =>
    Array.from({ length: count }, (_, number) => start(requester(number)));
  /** Lets the work with this number finish, and the next one start. */
  const finish = async (number: number): Promise<void> => {
    started[number]?.work.resolve('done');
    await settle();
  };
  const finishAll = async (): Promise<void> => {
    for (let number = 0; number < started.length; number += 1) await finish(number);
  };
  const callersFrom = (number: number): string[] => started.slice(number).map(({ caller }) => caller);
  return { start, startMany, started, finish, finishAll, callersFrom };
}

/** Fills all places: 56 with accepted callers, 8 with unknown ones of another peer. */
function fill({ startMany }: ReturnType<typeof setUp>): Promise<string>[] {
  return [
    ...startMany(IN_FLIGHT_RANK, (number) => accepted(`busy-${number}`)),
    ...startMany(IN_FLIGHT - IN_FLIGHT_RANK, (number) => unknown(`busy-new-${number}`, '10.0.0.99')),
  ];
}

test('runs 64 requests at once and the others in their order of arrival', async () => {
  const setup = setUp();
  const running = fill(setup);
  const waiting = ['alice', 'bob', 'carol'].map((caller) => setup.start(accepted(caller)));
  assert.equal(setup.started.length, IN_FLIGHT);
  await setup.finishAll();
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(setup.callersFrom(IN_FLIGHT), ['alice', 'bob', 'carol']);
});

test('frees the place of a request that fails', async () => {
  const setup = setUp();
  const running = fill(setup);
  const waiting = setup.start(accepted('alice'));
  setup.started[0]?.work.reject(new Error('x'));
  await assert.rejects(running[0] as Promise<string>, /x/);
  await settle();
  assert.deepEqual(setup.callersFrom(IN_FLIGHT), ['alice']);
  await setup.finishAll();
  assert.equal(await waiting, 'done');
});

test('has all places again when all requests are done', async () => {
  const setup = setUp();
  for (let round = 1; round <= 3; round += 1) {
    const running = fill(setup);
    assert.equal(setup.started.length, round * IN_FLIGHT);
    await setup.finishAll();
    await Promise.all(running);
  }
});

test('refuses a request at once when 1024 others are waiting', async () => {
  const setup = setUp();
  const all = [...fill(setup), ...setup.startMany(WAITING, (number) => accepted(`waiting-${number}`))];
  await assert.rejects(
    setup.start(accepted('late')),
    failsWith('ERR_STS_UNAVAILABLE', /"main" is overloaded: 1024 requests are waiting already/),
  );
  await setup.finishAll();
  assert.equal((await Promise.all(all)).length, IN_FLIGHT + WAITING);
});

test('refuses a request whose turn does not come in time', async () => {
  const setup = setUp(20);
  const running = fill(setup);
  await assert.rejects(setup.start(accepted('late')), failsWith('ERR_STS_UNAVAILABLE', /no turn within 20 ms/));
  await setup.finishAll();
  await Promise.all(running);
  assert.equal(setup.started.length, IN_FLIGHT);
});

test('gives one accepted caller 48 places at most', async () => {
  const setup = setUp();
  const alice = setup.startMany(IN_FLIGHT_EACH + 2, () => accepted('alice'));
  assert.equal(setup.started.length, IN_FLIGHT_EACH);
  const bob = setup.start(accepted('bob'));
  assert.equal(setup.started.length, IN_FLIGHT_EACH + 1);
  await setup.finish(IN_FLIGHT_EACH);
  await bob;
  assert.equal(setup.started.length, IN_FLIGHT_EACH + 1);
  await setup.finish(0);
  assert.equal(setup.started.length, IN_FLIGHT_EACH + 2);
  await setup.finishAll();
  await Promise.all(alice);
});

test('gives all unknown callers of one peer 48 places at most', async () => {
  const setup = setUp();
  const flood = setup.startMany(IN_FLIGHT, (number) => unknown(`made-up-${number}`));
  assert.equal(setup.started.length, IN_FLIGHT_EACH);
  const other = setup.start(unknown('bob', '10.0.0.2'));
  assert.deepEqual(setup.callersFrom(IN_FLIGHT_EACH), ['bob']);
  await setup.finishAll();
  await Promise.all([...flood, other]);
});

test('keeps 8 places from unknown callers, however many peers they have', async () => {
  const setup = setUp();
  const flood = setup.startMany(IN_FLIGHT, (number) => unknown(`made-up-${number}`, `10.0.1.${number}`));
  assert.equal(setup.started.length, IN_FLIGHT_RANK);
  const alice = setup.start(accepted('alice'));
  assert.deepEqual(setup.callersFrom(IN_FLIGHT_RANK), ['alice']);
  await setup.finishAll();
  await Promise.all([...flood, alice]);
});

test('keeps 8 places from accepted callers, so that they cannot lock out unknown ones', async () => {
  const setup = setUp();
  const busy = setup.startMany(IN_FLIGHT, (number) => accepted(`busy-${number}`));
  const bob = setup.start(unknown('bob'));
  assert.deepEqual(setup.callersFrom(IN_FLIGHT_RANK), ['bob']);
  await setup.finishAll();
  await Promise.all([...busy, bob]);
});

test('lets accepted callers take turns', async () => {
  const setup = setUp();
  const running = fill(setup);
  const waiting = [
    ...setup.startMany(10, () => accepted('alice')),
    ...setup.startMany(2, () => accepted('bob')),
    setup.start(accepted('carol')),
  ];
  await setup.finishAll();
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(setup.callersFrom(IN_FLIGHT).slice(0, 5), ['alice', 'bob', 'carol', 'alice', 'bob']);
});

test('starts accepted callers before unknown ones that arrived earlier', async () => {
  const setup = setUp();
  const running = fill(setup);
  const waiting = [setup.start(unknown('new')), setup.start(accepted('alice')), setup.start(accepted('bob'))];
  await setup.finishAll();
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(setup.callersFrom(IN_FLIGHT), ['alice', 'bob', 'new']);
});

test('lets peers take turns, whatever the number of their unknown callers', async () => {
  const setup = setUp();
  const running = fill(setup);
  const waiting = [
    ...setup.startMany(100, (number) => unknown(`made-up-${number}`, '10.0.0.2')),
    ...setup.startMany(3, (number) => unknown(`new-${number}`, '10.0.0.3')),
  ];
  await setup.finishAll();
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(setup.callersFrom(IN_FLIGHT).slice(0, 6), [
    'made-up-0',
    'new-0',
    'made-up-1',
    'new-1',
    'made-up-2',
    'new-2',
  ]);
});

test('lets the unknown callers of one peer take turns', async () => {
  const setup = setUp();
  const running = fill(setup);
  const waiting = [...setup.startMany(3, () => unknown('alice')), setup.start(unknown('bob'))];
  await setup.finishAll();
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(setup.callersFrom(IN_FLIGHT), ['alice', 'bob', 'alice', 'alice']);
});

test('refuses the newest request of the peer with most waiting to make room for another peer', async () => {
  const setup = setUp();
  const running = fill(setup);
  const flood = setup.startMany(WAITING, (number) => unknown(`made-up-${number}`, '10.0.0.2'));
  const bob = setup.start(unknown('bob', '10.0.0.3'));
  await assert.rejects(flood.at(-1) as Promise<string>, failsWith('ERR_STS_UNAVAILABLE', /1024 requests/));
  await assert.rejects(setup.start(unknown('mallory', '10.0.0.2')), failsWith('ERR_STS_UNAVAILABLE', /1024 requests/));
  await setup.finishAll();
  assert.equal(await bob, 'done');
  await Promise.all([...running, ...flood.slice(0, -1)]);
});

test('refuses unknown callers to make room for an accepted one', async () => {
  const setup = setUp();
  const running = fill(setup);
  const alice = setup.startMany(WAITING - 1, () => accepted('alice'));
  const unlucky = setup.start(unknown('new'));
  const bob = setup.start(accepted('bob'));
  await assert.rejects(unlucky, failsWith('ERR_STS_UNAVAILABLE', /1024 requests/));
  await setup.finishAll();
  await Promise.all([...running, ...alice, bob]);
});

test('refuses the newest request of the accepted caller with most waiting where no unknown caller waits', async () => {
  const setup = setUp();
  const running = fill(setup);
  const alice = setup.startMany(WAITING, () => accepted('alice'));
  const bob = setup.start(accepted('bob'));
  await assert.rejects(alice.at(-1) as Promise<string>, failsWith('ERR_STS_UNAVAILABLE', /1024 requests/));
  await setup.finishAll();
  assert.equal(await bob, 'done');
  await Promise.all([...running, ...alice.slice(0, -1)]);
});

const TIMEOUT = new CambistError('ERR_STS_UNAVAILABLE', 'timed out');
const alice: Requester = { caller: 'alice', peer: '10.0.0.2' };
const mallory: Requester = { caller: 'mallory', peer: '10.0.0.2' };
const cambist: Requester = { caller: undefined, peer: undefined };

function setUpQueue() {
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
  const { succeed, fail } = setUpQueue();
  await succeed(alice);
  for (let i = 0; i < 3; i += 1) await fail(mallory);
  await assert.rejects(succeed(mallory), failsWith('ERR_STS_UNAVAILABLE'));
  assert.equal(await succeed(alice), 'token');
});

test('a caller whose exchange failed is not accepted', async () => {
  const { succeed, fail } = setUpQueue();
  await fail(alice);
  for (let i = 0; i < 2; i += 1) await fail(mallory);
  await assert.rejects(succeed(alice), failsWith('ERR_STS_UNAVAILABLE'));
});

test('cambist itself is always accepted', async () => {
  const { succeed, fail } = setUpQueue();
  for (let i = 0; i < 3; i += 1) await fail(mallory);
  assert.equal(await succeed(cambist), 'token');
});

test('a caller that is accepted while its request waits passes its peer’s open breaker', async () => {
  const { queue, succeed, fail } = setUpQueue();
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
  const { succeed, fail } = setUpQueue();
  await succeed(alice);
  for (let i = 0; i < 9_999; i += 1) await succeed({ caller: `caller-${i}`, peer: '10.0.0.3' });
  await succeed(alice);
  await succeed({ caller: 'one-more', peer: '10.0.0.3' });
  for (let i = 0; i < 3; i += 1) await fail(mallory);
  assert.equal(await succeed(alice), 'token');
  await assert.rejects(succeed({ caller: 'caller-0', peer: '10.0.0.2' }), failsWith('ERR_STS_UNAVAILABLE'));
});
