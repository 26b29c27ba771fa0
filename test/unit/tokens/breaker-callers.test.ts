import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { deferred } from '../../harness/deferred.ts';
import { fault, refused, setUp, succeed } from './breaker-setup.ts';

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
