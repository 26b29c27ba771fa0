import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import { createCooldown } from '../../../src/tokens/upstream-reports.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { routeOf } from './sample.ts';
import { ALICE, bearerOf, setUpBroker, setUpToken, tokenOf } from './scripted-endpoint.ts';

const COOLDOWN_MS = 10_000;
const route = routeOf();
const one = { ...ALICE, id: 'one' };

test('replaces a refused token once in ten seconds, and keeps it when an older one is refused', async () => {
  const { broker, clock, issue, token } = await setUpToken(route, ALICE, 'first');
  const refuse = (refused: IssuedToken) => broker.dropRefused(route, ALICE, refused);
  assert.equal(refuse(token), true);
  const looked = broker.lookUp(route, ALICE);
  await issue(2, 'second');
  const second = await tokenOf(looked);
  clock.advance(COOLDOWN_MS - 1);
  assert.deepEqual([refuse(token), refuse(second)], [true, false]);
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer second');
  clock.advance(1);
  assert.equal(refuse(second), true);
  assert.equal(broker.lookUp(route, ALICE).result, 'miss');
});

test('a session takes over the token of the request that opened it, once in ten seconds', async () => {
  const { broker, clock, issue, token: first } = await setUpToken(route, ALICE, 'first');
  const open = (id: string, token: IssuedToken) => broker.openSession(route, ALICE, id, token);
  open('one', first);
  const looked = broker.lookUp(route, ALICE);
  assert.equal(looked.result, 'miss');
  await issue(2, 'second');
  const second = await tokenOf(looked);
  clock.advance(COOLDOWN_MS - 1);
  for (const id of ['one', 'two']) open(id, second);
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer second');
  assert.equal(await bearerOf(broker.lookUp(route, one)), 'Bearer first', 'its own token');
  assert.equal(await bearerOf(broker.lookUp(route, { ...ALICE, id: 'two' })), 'Bearer second');
  clock.advance(1);
  open('three', second);
  assert.equal(broker.lookUp(route, ALICE).result, 'miss');
});

test('gives a session no token that a backend refused', async () => {
  const { broker, token } = await setUpToken(route, ALICE);
  broker.dropRefused(route, ALICE, token);
  broker.openSession(route, ALICE, 'one', token);
  assert.equal(broker.lookUp(route, one).result, 'miss');
});

test('a client ends its session at any time, and an upstream a session that has a token once in ten seconds', async () => {
  const { broker, clock, issue, evictions } = await setUpToken(route, ALICE);
  const end = (by: 'client' | 'upstream') => broker.endSession(route, one, by);
  broker.endSession(route, ALICE, 'upstream');
  end('upstream');
  for (const [number, by, isOver] of [
    [2, 'upstream', true],
    [3, 'client', true],
    [4, 'upstream', false],
  ] as const) {
    broker.lookUp(route, one);
    await issue(number);
    end(by);
    assert.equal(broker.lookUp(route, one).result, isOver ? 'miss' : 'hit');
    if (isOver) end('client');
  }
  clock.advance(COOLDOWN_MS);
  end('upstream');
  assert.deepEqual(evictions, Array(3).fill('session_ended'));
  assert.equal(broker.lookUp(route, ALICE).result, 'hit');
});

test('a session that ends during its exchange caches no token, unless it is used again', async () => {
  for (const isUsed of [false, true]) {
    const { broker, issue, cache } = setUpBroker();
    const waiting = bearerOf(broker.lookUp(route, one));
    broker.endSession(route, one, 'client');
    if (isUsed) assert.equal(broker.lookUp(route, one).result, 'joined');
    await issue(1, 'token');
    assert.equal(await waiting, 'Bearer token');
    assert.equal(cache.size, isUsed ? 1 : 0);
  }
});

test('admits each key again after its cooldown, which a refused event does not extend', () => {
  const clock = createFakeClock();
  const admits = createCooldown(COOLDOWN_MS, clock);
  assert.deepEqual([admits('a'), admits('b')], [true, true]);
  clock.advance(COOLDOWN_MS - 1);
  assert.equal(admits('a'), false);
  clock.advance(1);
  assert.deepEqual([admits('a'), admits('a'), admits('b')], [true, false, true]);
});

test('forgets the oldest of more than ten thousand keys', () => {
  const admits = createCooldown(COOLDOWN_MS, createFakeClock());
  for (let i = 0; i < 10_001; i += 1) assert.equal(admits(`key-${i}`), true);
  assert.deepEqual([admits('key-1'), admits('key-0')], [false, true]);
});
