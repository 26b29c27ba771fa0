import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createRankedBreaker } from '../../../src/tokens/breaker.ts';
import type { RankedRequester } from '../../../src/tokens/requester.ts';
import { deferred } from '../../harness/deferred.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith } from './sample.ts';

const alice: RankedRequester = { caller: 'alice', peer: '10.0.0.1', accepted: true };
const bob: RankedRequester = { caller: 'bob', peer: '10.0.0.1', accepted: true };
const newcomer: RankedRequester = { caller: 'newcomer', peer: '10.0.0.3', accepted: false };
const madeUp = (number = 0): RankedRequester => ({ caller: `made-up-${number}`, peer: '10.0.0.2', accepted: false });

const TIMEOUT = new CambistError('ERR_STS_UNAVAILABLE', 'timed out');
const ERROR_500 = new CambistError('ERR_STS_UNAVAILABLE', 'answered with 500', { serverStatus: 500 });
const TOO_MANY = new CambistError('ERR_STS_UNAVAILABLE', '429', { serverStatus: 429, retryAfterSeconds: 30 });
const ERROR_400 = new CambistError('ERR_STS_UNAVAILABLE', '400, server_error', {
  serverStatus: 400,
  retryAfterSeconds: 30,
});
const REFUSED = new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'invalid_grant');

const isOpen = failsWith('ERR_STS_UNAVAILABLE', /"main" is considered down/);

function setUp() {
  const clock = createFakeClock();
  const changes: boolean[] = [];
  const breaker = createRankedBreaker('main', clock, (available) => changes.push(available));
  const succeed = (requester: RankedRequester): Promise<string> => breaker.run(requester, async () => 'token');
  const fail = async (requester: RankedRequester, error: CambistError, times = 1): Promise<void> => {
    for (let i = 0; i < times; i += 1) {
      await assert.rejects(
        breaker.run(requester, () => Promise.reject(error)),
        error,
      );
    }
  };
  return { clock, changes, breaker, succeed, fail };
}

for (const [name, error] of Object.entries({ TIMEOUT, ERROR_500, TOO_MANY })) {
  test(`${name} for unknown callers of one peer blocks that peer's unknown callers only`, async () => {
    const { succeed, fail, changes } = setUp();
    await succeed(alice);
    if (error === TOO_MANY) await fail(madeUp(), error);
    else for (let i = 0; i < 3; i += 1) await fail(madeUp(i), error);
    await assert.rejects(succeed(madeUp(9)), isOpen);
    assert.equal(await succeed(newcomer), 'token');
    assert.equal(await succeed(alice), 'token');
    assert.equal(await succeed({ ...alice, peer: '10.0.0.2' }), 'token');
    assert.deepEqual(changes, []);
  });
}

test('refusals of made-up tokens open nothing', async () => {
  const { succeed, fail, changes } = setUp();
  await fail(madeUp(), REFUSED, 100);
  assert.equal(await succeed(madeUp(1)), 'token');
  assert.equal(await succeed(alice), 'token');
  assert.deepEqual(changes, []);
});

test('a server_error with status 400, which a token may cause, opens nothing for others', async () => {
  const { succeed, fail, changes } = setUp();
  for (let i = 0; i < 3; i += 1) await fail(madeUp(i), ERROR_400);
  assert.equal(await succeed(madeUp(9)), 'token');
  for (const requester of [alice, bob, alice, bob]) await fail(requester, ERROR_400);
  assert.equal(await succeed({ ...alice, caller: 'carol' }), 'token');
  assert.deepEqual(changes, []);
});

test('a server_error with status 400 does not show that the server is up', async () => {
  const { succeed, fail } = setUp();
  for (let i = 0; i < 3; i += 1) {
    await fail(bob, ERROR_400);
    await fail(alice, TIMEOUT);
  }
  await assert.rejects(succeed(alice), isOpen);
});

test('refusals of made-up tokens between the faults of accepted callers do not keep the breaker closed', async () => {
  const { succeed, fail } = setUp();
  for (let i = 0; i < 3; i += 1) {
    await fail(alice, TIMEOUT);
    await fail(madeUp(i), REFUSED);
  }
  await assert.rejects(succeed(alice), isOpen);
});

test('a made-up token cannot use up the probe of accepted callers', async () => {
  const { succeed, fail, breaker, clock } = setUp();
  await fail(alice, TIMEOUT, 3);
  clock.advance(250);
  const probe = deferred<string>();
  const probing = breaker.run(madeUp(), () => probe.promise);
  await assert.rejects(succeed(madeUp(1)), isOpen);
  assert.equal(await succeed(bob), 'token');
  probe.reject(TIMEOUT);
  await assert.rejects(probing, TIMEOUT);
});

test('each peer has a probe of its own while the server is down for accepted callers', async () => {
  const { succeed, fail, breaker, changes } = setUp();
  await fail(alice, TIMEOUT, 3);
  const probe = deferred<string>();
  const probing = breaker.run(madeUp(), () => probe.promise);
  assert.equal(await succeed(newcomer), 'token');
  assert.equal(await succeed(alice), 'token');
  assert.deepEqual(changes, [false, true]);
  probe.resolve('token');
  await probing;
});

test('the refusal of a made-up token does not close a breaker that accepted callers opened', async () => {
  const { succeed, fail, changes } = setUp();
  await fail(alice, TIMEOUT, 3);
  await fail(madeUp(), REFUSED);
  await assert.rejects(succeed(alice), isOpen);
  assert.deepEqual(changes, [false]);
});

test('a pause that the server asks of an accepted caller holds for unknown ones', async () => {
  const { succeed, fail, clock } = setUp();
  await fail(alice, TOO_MANY);
  await assert.rejects(succeed(newcomer), isOpen);
  clock.advance(30_000);
  assert.equal(await succeed(newcomer), 'token');
});

test('unknown callers are refused at once while a server without accepted callers is down', async () => {
  const { succeed, fail, changes, clock } = setUp();
  await fail(madeUp(), TIMEOUT, 3);
  assert.deepEqual(changes, [false]);
  await assert.rejects(succeed(madeUp(1)), isOpen);
  clock.advance(250);
  assert.equal(await succeed(madeUp(1)), 'token');
  assert.deepEqual(changes, [false, true]);
});

test('an outage that unknown callers alone notice is reported when no caller has had a response for ten seconds', async () => {
  const { succeed, fail, changes, clock } = setUp();
  await succeed(alice);
  clock.advance(9_000);
  await fail(madeUp(), TIMEOUT, 3);
  assert.deepEqual(changes, []);
  clock.advance(3_000);
  await fail(madeUp(), TIMEOUT);
  assert.deepEqual(changes, [false]);
  await succeed(alice);
  assert.deepEqual(changes, [false, true]);
});

test('callers without an address share one line', async () => {
  const { succeed, fail } = setUp();
  const local: RankedRequester = { caller: 'local', peer: undefined, accepted: false };
  await succeed(alice);
  await fail(local, TIMEOUT, 3);
  await assert.rejects(succeed({ ...local, caller: 'other' }), isOpen);
  assert.equal(await succeed(newcomer), 'token');
});
