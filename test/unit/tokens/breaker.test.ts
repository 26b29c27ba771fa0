import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { deferred } from '../../harness/deferred.ts';
import { fault, refused, setUp, succeed } from './breaker-setup.ts';

async function bringDown({ fail }: { fail: (error?: unknown) => Promise<void> }): Promise<void> {
  for (let i = 0; i < 3; i += 1) await fail();
}

test('returns the result and the error of an attempt unchanged', async () => {
  const { breaker, attempt } = setUp();
  assert.equal(await succeed(breaker), 'token');
  const error = new Error('x');
  await assert.rejects(
    attempt(() => Promise.reject(error)),
    (caught) => caught === error,
  );
});

test('reports once that the server is down, and once that it responds again', async () => {
  const setup = setUp();
  await setup.fail();
  await setup.fail();
  assert.deepEqual(setup.said, []);
  await setup.fail();
  setup.clock.advance(3000);
  await setup.fail();
  assert.deepEqual(setup.said, [false]);
  setup.clock.advance(3000);
  await succeed(setup.breaker);
  await succeed(setup.breaker);
  assert.deepEqual(setup.said, [false, true]);
});

test('a server that names a pause is unavailable, and a server that refuses is available', async () => {
  const setup = setUp();
  await setup.fail(fault(5));
  assert.deepEqual(setup.said, [false]);
  setup.clock.advance(5000);
  await setup.fail(new CambistError('ERR_EXCHANGE_REFUSED', 'no'));
  assert.deepEqual(setup.said, [false, true]);
});

test('stays closed after two faults in a row', async () => {
  const { breaker, fail } = setUp();
  await fail();
  await fail();
  assert.equal(await succeed(breaker), 'token');
});

test('refuses callers at once after three faults in a row, with the time of the next attempt', async () => {
  const setup = setUp();
  await bringDown(setup);
  await assert.rejects(
    succeed(setup.breaker),
    (error) => refused(error) && (error as CambistError).retryAfterSeconds === 1,
  );
  assert.equal(setup.attempts(), 3);
});

test('a success resets the count of faults', async () => {
  const { breaker, fail } = setUp();
  await fail();
  await fail();
  await succeed(breaker);
  await fail();
  await fail();
  assert.equal(await succeed(breaker), 'token');
});

for (const code of ['ERR_SUBJECT_TOKEN_INVALID', 'ERR_CLIENT_REFUSED', 'ERR_STS_RESPONSE_INVALID'] as ErrorCode[]) {
  test(`${code} shows that the server is up`, async () => {
    const { breaker, fail } = setUp();
    await fail();
    await fail();
    await fail(new CambistError(code, 'no'));
    await fail();
    await fail();
    assert.equal(await succeed(breaker), 'token');
  });
}

for (const error of [
  new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'no secret'),
  new CambistError('ERR_INTERNAL', 'bug'),
  new Error('bug'),
]) {
  test(`${error.name} ${'code' in error ? error.code : ''} says nothing about the server`, async () => {
    const setup = setUp();
    await setup.fail();
    await setup.fail();
    for (let i = 0; i < 5; i += 1) await setup.fail(error);
    await setup.fail();
    await assert.rejects(succeed(setup.breaker), refused);
  });
}

test('one probe checks whether the server is back, and closes the breaker', async () => {
  const setup = setUp();
  await bringDown(setup);
  setup.clock.advance(250);
  const probe = deferred<string>();
  const probing = setup.attempt(() => probe.promise);
  await assert.rejects(succeed(setup.breaker), refused);
  assert.equal(setup.attempts(), 4);
  probe.resolve('token');
  await probing;
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a failed probe extends the pause, up to three seconds', async () => {
  const setup = setUp();
  await bringDown(setup);
  for (const pauseMs of [250, 500, 1000, 2000, 3000, 3000, 3000]) {
    setup.clock.advance(pauseMs - 1);
    await assert.rejects(succeed(setup.breaker), refused);
    setup.clock.advance(1);
    await setup.fail();
  }
  assert.equal(setup.attempts(), 10);
});

test('a hanging probe delays the next probe by three seconds at most', async () => {
  const setup = setUp();
  await bringDown(setup);
  setup.clock.advance(250);
  const hanging = deferred<string>();
  const first = setup.attempt(() => hanging.promise);
  setup.clock.advance(2999);
  await assert.rejects(succeed(setup.breaker), refused);
  setup.clock.advance(1);
  assert.equal(await succeed(setup.breaker), 'token');
  hanging.reject(fault());
  await assert.rejects(first);
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a probe that took long is followed by the next at once', async () => {
  const setup = setUp();
  await bringDown(setup);
  setup.clock.advance(250);
  const hanging = deferred<string>();
  const first = setup.attempt(() => hanging.promise);
  setup.clock.advance(5000);
  hanging.reject(fault());
  await assert.rejects(first);
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a probe that fails while a later one is in flight admits no other request', async () => {
  const setup = setUp();
  await bringDown(setup);
  setup.clock.advance(250);
  const hanging = deferred<string>();
  const first = setup.attempt(() => hanging.promise);
  setup.clock.advance(3000);
  const second = deferred<string>();
  const later = setup.attempt(() => second.promise);
  hanging.reject(fault());
  await assert.rejects(first);
  await assert.rejects(succeed(setup.breaker), refused);
  second.resolve('token');
  await later;
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a probe that fails on our side leaves its turn to the next', async () => {
  const setup = setUp();
  await bringDown(setup);
  setup.clock.advance(250);
  await setup.fail(new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'no secret'));
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a late success of an earlier attempt closes the breaker', async () => {
  const setup = setUp();
  const slow = deferred<string>();
  const straggler = setup.attempt(() => slow.promise);
  await bringDown(setup);
  slow.resolve('token');
  await straggler;
  assert.equal(await succeed(setup.breaker), 'token');
});

test('concurrent failures count as many faults, and the pause stays bounded', async () => {
  const setup = setUp();
  const outage = deferred<string>();
  const all = Array.from({ length: 64 }, () => setup.attempt(() => outage.promise).catch(() => {}));
  outage.reject(fault());
  await Promise.all(all);
  await assert.rejects(succeed(setup.breaker), refused);
  setup.clock.advance(3000);
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a Retry-After holds for all callers from the first fault on', async () => {
  const setup = setUp();
  await setup.fail(fault(7));
  setup.clock.advance(6999);
  await assert.rejects(
    succeed(setup.breaker),
    (error) => refused(error) && (error as CambistError).retryAfterSeconds === 1,
  );
  setup.clock.advance(1);
  assert.equal(await succeed(setup.breaker), 'token');
});

test('a Retry-After holds although another caller got a response meanwhile', async () => {
  const setup = setUp();
  const slow = deferred<string>();
  const straggler = setup.attempt(() => slow.promise);
  await setup.fail(fault(7));
  slow.resolve('token');
  await straggler;
  await assert.rejects(succeed(setup.breaker), (error) => (error as CambistError).retryAfterSeconds === 7);
});

test('a later and shorter Retry-After does not replace a longer one', async () => {
  const setup = setUp();
  const slow = deferred<string>();
  const straggler = setup.attempt(() => slow.promise);
  await setup.fail(fault(60));
  slow.reject(fault(1));
  await assert.rejects(straggler);
  setup.clock.advance(2000);
  await assert.rejects(succeed(setup.breaker), (error) => (error as CambistError).retryAfterSeconds === 58);
});

test('a Retry-After for a probe replaces our own pause', async () => {
  const setup = setUp();
  await bringDown(setup);
  for (const pauseMs of [250, 500, 1000, 2000]) {
    setup.clock.advance(pauseMs);
    await setup.fail();
  }
  setup.clock.advance(3000);
  await setup.fail(fault(1));
  setup.clock.advance(1000);
  assert.equal(await succeed(setup.breaker), 'token');
});

/** The server responds with 500. */
function answered500(): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', 'answered with 500', { serverStatus: 500 });
}

test('a server that fails for one caller is considered down for that caller only', async () => {
  const { breaker, fail } = setUp();
  for (let i = 0; i < 3; i += 1) await fail(answered500(), 'mallory');
  await assert.rejects(succeed(breaker, 'mallory'), refused);
  assert.equal(await succeed(breaker, 'bob'), 'token');
  assert.equal(await succeed(breaker, 'mallory'), 'token');
});

test('a server that fails for two callers is considered down for all', async () => {
  const { breaker, fail } = setUp();
  for (let i = 0; i < 3; i += 1) await fail(answered500(), 'alice');
  await fail(answered500(), 'bob');
  for (const caller of ['alice', 'bob', 'carol']) await assert.rejects(succeed(breaker, caller), refused);
});

test('a caller whose requests are the only probes does not block others for long', async () => {
  const { breaker, clock, fail } = setUp();
  await fail(answered500(), 'bob');
  for (let i = 0; i < 2; i += 1) await fail(answered500(), 'mallory');
  await assert.rejects(succeed(breaker, 'bob'), refused);
  clock.advance(3000);
  await fail(answered500(), 'mallory');
  assert.equal(await succeed(breaker, 'bob'), 'token');
});

test('a server that does not respond to one caller is considered down for all', async () => {
  const { breaker, fail } = setUp();
  for (let i = 0; i < 3; i += 1) await fail(fault(), 'mallory');
  await assert.rejects(succeed(breaker, 'bob'), refused);
});

test('a server with one caller gets one probe at a time, whatever its responses', async () => {
  const { breaker, clock, fail, attempts } = setUp();
  for (let i = 0; i < 3; i += 1) await fail(answered500(), 'alice');
  for (let i = 0; i < 50; i += 1) await assert.rejects(succeed(breaker, 'alice'), refused);
  assert.equal(attempts(), 3);
  clock.advance(3000);
  const probe = deferred<string>();
  const probing = breaker.run('alice', () => probe.promise);
  await assert.rejects(succeed(breaker, 'alice'), refused);
  probe.resolve('token');
  assert.equal(await probing, 'token');
});

test('a Retry-After for one caller holds for others as well', async () => {
  const { breaker, fail } = setUp();
  await fail(new CambistError('ERR_STS_UNAVAILABLE', 'slow', { serverStatus: 429, retryAfterSeconds: 2 }), 'mallory');
  await assert.rejects(succeed(breaker, 'bob'), refused);
});
