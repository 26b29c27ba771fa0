import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { placesOf, sealToken, tagOf } from '../../../src/shared-cache/places.ts';
import {
  readRefusal,
  readToken,
  sealedRefusal,
  usableToken,
  writeRefusal,
  writeToken,
} from '../../../src/shared-cache/results.ts';
import { restoreToken, type SharedEntry } from '../../../src/tokens/shared-token.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, routeOf } from '../tokens/sample.ts';
import { entryOf, NEW_KEY } from './replica.ts';

const clock = createFakeClock();
const placesFor = (entry: SharedEntry) => placesOf(entry, new Secret('alice'), [NEW_KEY], 'cambist');

test('shares no error but a refusal that concerns the caller alone', () => {
  const places = placesFor(entryOf());
  const refusal = new CambistError('ERR_EXCHANGE_REFUSED', 'refused');
  assert.ok(sealedRefusal(refusal, places, clock));
  for (const error of [new CambistError('ERR_STS_UNAVAILABLE', 'down'), new Error('a defect'), 'text']) {
    assert.equal(sealedRefusal(error, places, clock), undefined);
  }
  assert.equal(sealedRefusal(refusal, placesFor({ ...entryOf(), subject: undefined }), clock), undefined);
});

test('uses a token with the scopes that the request needs, and with no scope that the route may not add', () => {
  const isUsable = (needed: readonly string[], added: readonly string[]) => {
    const places = placesFor(entryOf({ route: routeOf({ stepUp: ['write', 'delete'] }), added: needed }));
    const portable = {
      token: 'issued',
      scope: undefined,
      sentAtMs: clock.wallMs(),
      reusableUntilMs: clock.wallMs() + 60_000,
      expiresAtMs: clock.wallMs() + 100_000,
    };
    const value = sealToken(writeToken(portable, added), tagOf('issued', places.first), places.first, places);
    const rules = { clock, maxAgeMs: () => 300_000, random: () => 0.5, isRefused: () => false };
    return usableToken(value, places.first, places, undefined, rules) !== undefined;
  };
  assert.ok(isUsable([], []) && isUsable([], ['write']) && isUsable(['write'], ['delete', 'write']));
  assert.ok(!isUsable(['write'], []) && !isUsable(['write'], ['delete']));
  assert.ok(!isUsable([], ['admin']) && !isUsable(['write'], ['write', 'admin']));
});

test('restores the scope and the expiry of a token, and never the token of the caller', () => {
  const entry = entryOf();
  const nowMs = clock.wallMs();
  const restored = (token: string) => {
    const portable = {
      token,
      scope: 'repo',
      sentAtMs: nowMs,
      reusableUntilMs: nowMs + 1000,
      expiresAtMs: nowMs + 5000,
    };
    return restoreToken(portable, entry, { clock, maxAgeMs: () => 300_000, random: () => 0.5 });
  };
  const { granted, lifetime } = restored('issued');
  assert.equal(granted.scope, 'repo');
  assert.equal(lifetime.expiresAtMonotonicMs, clock.monotonicMs() + 5000);
  assert.throws(
    () => restored(entry.subject?.token.reveal() ?? ''),
    failsWith('ERR_STS_RESPONSE_INVALID', /subject_token/),
  );
});

test('reads a token only if every member has its type', () => {
  const good = { token: 'issued', scope: 's', sentAtMs: 1, reusableUntilMs: 0, expiresAtMs: 3, added: ['write'] };
  assert.ok(readToken(JSON.stringify(good)));
  assert.ok(readToken(JSON.stringify({ ...good, scope: undefined, expiresAtMs: undefined })));
  for (const [key, values] of Object.entries({
    token: [undefined, 7],
    scope: [7, null],
    sentAtMs: [undefined, '1', -1, 1.5, 2 ** 53],
    reusableUntilMs: [undefined, '1', -1],
    expiresAtMs: ['1', -1, null],
    added: [undefined, 'write', [7]],
  })) {
    for (const value of values) {
      assert.equal(readToken(JSON.stringify({ ...good, [key]: value })), undefined, `${key} ${value}`);
    }
  }
});

test('reads no requirements of a refusal that have other types', () => {
  const required = (authentication: unknown) => {
    const text = writeRefusal(new CambistError('ERR_INTERACTION_REQUIRED', 'more'), clock.wallMs());
    const altered = JSON.stringify({ ...JSON.parse(text), authentication });
    return readRefusal(altered, entryOf(), clock.wallMs())?.authentication;
  };
  assert.deepEqual(required({ acrValues: 'gold', maxAge: 60 }), { acrValues: 'gold', maxAge: 60 });
  assert.deepEqual(required({}), {});
  for (const value of [null, 'gold', { acrValues: 7 }, { maxAge: '60' }, { acrValues: 'gold', maxAge: '60' }]) {
    assert.equal(required(value), undefined, JSON.stringify(value));
  }
});
