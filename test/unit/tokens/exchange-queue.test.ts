import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createExchangeQueue, createLimiter } from '../../../src/tokens/exchange-queue.ts';
import type { RankedRequester, Requester } from '../../../src/tokens/token-request.ts';
import { deferred } from '../../harness/eventually.ts';
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
  const all: Promise<string>[] = [];
  const start = (requester: RankedRequester): Promise<string> => {
    const running = limiter.run(requester, () => {
      const work = deferred<string>();
      started.push({ caller: requester.caller ?? 'cambist', work });
      return work.promise;
    });
    all.push(running);
    return running;
  };
  const startAll = (...requesters: readonly RankedRequester[]): void => {
    for (const requester of requesters) start(requester).catch(() => {});
  };
  /** Lets the work with this number finish, and the next one start. */
  const finish = async (number: number): Promise<void> => {
    started[number]?.work.resolve('done');
    await settle();
  };
  /** Finishes all work. @returns the number of requests that failed */
  const finishAll = async (): Promise<number> => {
    for (let number = 0; number < started.length; number += 1) await finish(number);
    return (await Promise.allSettled(all)).filter(({ status }) => status === 'rejected').length;
  };
  const callersFrom = (number: number): string[] => started.slice(number).map(({ caller }) => caller);
  return { start, startAll, started, finish, finishAll, callersFrom };
}

/** Unknown callers of one peer. */
const strangers = (count: number, peer?: string) => times(count, (number) => unknown(`made-up-${number}`, peer));

const times = (count: number, requester: (number: number) => RankedRequester): RankedRequester[] =>
  Array.from({ length: count }, (_, number) => requester(number));

/** Takes all places: 56 for accepted callers, 8 for unknown ones of another peer. */
const FULL = [
  ...times(IN_FLIGHT_RANK, (number) => accepted(`busy-${number}`)),
  ...times(IN_FLIGHT - IN_FLIGHT_RANK, (number) => unknown(`busy-new-${number}`, '10.0.0.99')),
];

/** A limiter without a free place. */
function setUpFull(maxWaitMs?: number) {
  const setup = setUp(maxWaitMs);
  setup.startAll(...FULL);
  assert.equal(setup.started.length, IN_FLIGHT);
  return setup;
}

const ORDERS: [what: string, waiting: RankedRequester[], started: string[]][] = [
  ['starts requests in their order of arrival', ['alice', 'bob', 'carol'].map(accepted), ['alice', 'bob', 'carol']],
  [
    'lets accepted callers take turns',
    [...times(10, () => accepted('alice')), ...times(2, () => accepted('bob')), accepted('carol')],
    ['alice', 'bob', 'carol', 'alice', 'bob'],
  ],
  [
    'starts accepted callers before unknown ones that arrived earlier',
    [unknown('new'), accepted('alice'), accepted('bob')],
    ['alice', 'bob', 'new'],
  ],
  [
    'lets peers take turns, whatever the number of their unknown callers',
    [...strangers(100, '10.0.0.2'), ...times(3, (number) => unknown(`new-${number}`, '10.0.0.3'))],
    ['made-up-0', 'new-0', 'made-up-1', 'new-1', 'made-up-2', 'new-2'],
  ],
  [
    'starts the unknown callers of one peer in their order of arrival',
    [...times(3, () => unknown('alice')), unknown('bob')],
    ['alice', 'alice', 'alice', 'bob'],
  ],
];
for (const [what, waiting, order] of ORDERS) {
  test(what, async () => {
    const { startAll, finishAll, callersFrom } = setUpFull();
    startAll(...waiting);
    assert.deepEqual(callersFrom(IN_FLIGHT), []);
    assert.equal(await finishAll(), 0);
    assert.deepEqual(callersFrom(IN_FLIGHT).slice(0, order.length), order);
  });
}

test('frees the place of a request that fails', async () => {
  const { startAll, started, finishAll, callersFrom } = setUpFull();
  startAll(accepted('alice'));
  started[0]?.work.reject(new Error('x'));
  await settle();
  assert.deepEqual(callersFrom(IN_FLIGHT), ['alice']);
  assert.equal(await finishAll(), 1);
});

test('has all places again when all requests are done', async () => {
  const { startAll, started, finishAll } = setUpFull();
  for (let round = 2; round <= 3; round += 1) {
    await finishAll();
    startAll(...FULL);
    assert.equal(started.length, round * IN_FLIGHT);
  }
  await finishAll();
});

test('refuses a request whose turn does not come in time', async () => {
  const { start, started, finishAll } = setUpFull(20);
  await assert.rejects(start(accepted('late')), failsWith('ERR_STS_UNAVAILABLE', /no turn within 20 ms/));
  await finishAll();
  assert.equal(started.length, IN_FLIGHT);
});

const PLACES: [what: string, flood: RankedRequester[], started: number, other: RankedRequester][] = [
  ['gives one accepted caller 48 places at most', times(50, () => accepted('alice')), IN_FLIGHT_EACH, accepted('bob')],
  [
    'gives all unknown callers of one peer 48 places at most',
    strangers(IN_FLIGHT),
    IN_FLIGHT_EACH,
    unknown('bob', '10.0.0.2'),
  ],
  [
    'keeps 8 places from unknown callers, however many peers they have',
    times(IN_FLIGHT, (number) => unknown(`made-up-${number}`, `10.0.1.${number}`)),
    IN_FLIGHT_RANK,
    accepted('bob'),
  ],
  [
    'keeps 8 places from accepted callers, so that they cannot lock out unknown ones',
    times(IN_FLIGHT, (number) => accepted(`busy-${number}`)),
    IN_FLIGHT_RANK,
    unknown('bob'),
  ],
];
for (const [what, flood, count, other] of PLACES) {
  test(what, async () => {
    const { startAll, started, finish, finishAll, callersFrom } = setUp();
    startAll(...flood);
    assert.equal(started.length, count);
    startAll(other);
    assert.deepEqual(callersFrom(count), ['bob']);
    // The flood does not get the place of another caller.
    await finish(count);
    assert.equal(started.length, count + 1);
    await finish(0);
    assert.equal(started.length, count + 2);
    assert.equal(await finishAll(), 0);
  });
}

/** Which request of those that wait, or of the late one, is refused. */
const OVERLOADS: [what: string, waiting: RankedRequester[], late: RankedRequester, refused: number][] = [
  [
    'refuses a request at once when 1024 others are waiting',
    times(WAITING, (number) => accepted(`waiting-${number}`)),
    accepted('late'),
    WAITING,
  ],
  [
    'refuses the newest request of the peer with most waiting to make room for another peer',
    strangers(WAITING, '10.0.0.2'),
    unknown('bob', '10.0.0.3'),
    WAITING - 1,
  ],
  [
    'refuses a request of the peer with most waiting',
    strangers(WAITING, '10.0.0.2'),
    unknown('mallory', '10.0.0.2'),
    WAITING,
  ],
  [
    'refuses unknown callers to make room for an accepted one',
    [...times(WAITING - 1, () => accepted('alice')), unknown('new')],
    accepted('bob'),
    WAITING - 1,
  ],
  [
    'refuses the newest request of the accepted caller with most waiting where no unknown caller waits',
    times(WAITING, () => accepted('alice')),
    accepted('bob'),
    WAITING - 1,
  ],
];
for (const [what, waiting, late, refused] of OVERLOADS) {
  test(what, async () => {
    const { start, finishAll } = setUpFull();
    const all = [...waiting, late].map(start);
    await assert.rejects(
      all[refused] as Promise<string>,
      failsWith('ERR_STS_UNAVAILABLE', /"main" is overloaded: 1024 requests are waiting already/),
    );
    assert.equal(await finishAll(), 1);
  });
}

const TIMEOUT = new CambistError('ERR_STS_UNAVAILABLE', 'timed out');
const alice: Requester = { caller: 'alice', peer: '10.0.0.2' };
const bob: Requester = { caller: 'bob', peer: '10.0.0.2' };
const mallory: Requester = { caller: 'mallory', peer: '10.0.0.2' };
const cambist: Requester = { caller: undefined, peer: undefined };

function setUpQueue() {
  const queue = createExchangeQueue('main', 60_000, createFakeClock(), () => {});
  const succeed = (requester: Requester): Promise<string> => queue.run(requester, async () => 'token');
  const fail = async (requester: Requester, times = 1): Promise<void> => {
    const failing = () => queue.run(requester, () => Promise.reject(TIMEOUT));
    for (let i = 0; i < times; i += 1) await assert.rejects(failing, TIMEOUT);
  };
  const refuses = (requester: Requester) => assert.rejects(succeed(requester), failsWith('ERR_STS_UNAVAILABLE'));
  return { queue, succeed, fail, refuses };
}

test('accepts cambist itself, a caller from its first token on, and none whose exchange failed', async () => {
  const { succeed, fail, refuses } = setUpQueue();
  await succeed(alice);
  await fail(bob);
  await fail(mallory, 2);
  for (const requester of [mallory, bob]) await refuses(requester);
  for (const requester of [alice, cambist]) assert.equal(await succeed(requester), 'token');
});

test('a caller that is accepted while its request waits passes its peer’s open breaker', async () => {
  const { queue, succeed, fail } = setUpQueue();
  const slow = deferred<string>();
  const running = Array.from({ length: 48 }, (_, i) =>
    queue.run({ caller: `slow-${i}`, peer: '10.0.0.2' }, () => slow.promise),
  );
  const waiting = succeed(alice);
  await succeed({ ...alice, peer: '10.0.0.3' });
  await fail({ ...mallory, peer: '10.0.0.3' }, 3);
  slow.resolve('token');
  await settle();
  assert.equal(await waiting, 'token');
  await Promise.all(running);
});

test('remembers the 10,000 most recently used accepted callers', async () => {
  const { succeed, fail, refuses } = setUpQueue();
  await succeed(alice);
  for (let i = 0; i < 9_999; i += 1) await succeed({ caller: `caller-${i}`, peer: '10.0.0.3' });
  await succeed(alice);
  await succeed({ caller: 'one-more', peer: '10.0.0.3' });
  await fail(mallory, 3);
  assert.equal(await succeed(alice), 'token');
  await refuses({ caller: 'caller-0', peer: '10.0.0.2' });
});
