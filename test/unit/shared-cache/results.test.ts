import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Secret } from '../../../src/secrets/secret.ts';
import { placeOf, readToken, sealToken, usableToken } from '../../../src/shared-cache/results.ts';
import { deriveStoreKey, MAX_SEALED_LENGTH, nameOf, open, seal } from '../../../src/shared-cache/seal.ts';
import { restoreToken } from '../../../src/tokens/shared-token.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, routeOf } from '../tokens/sample.ts';
import { entryOf, NEW_KEY, OLD_KEY, startAlone, startPair, startReplica } from './replica.ts';

const clock = createFakeClock();

/** A token of 'repo' that was just issued, and expires in five seconds. */
const portableOf = (token: string) => {
  const nowMs = clock.wallMs();
  return { token, scope: 'repo', sentAtMs: nowMs, reusableUntilMs: nowMs + 1000, expiresAtMs: nowMs + 5000 };
};

test('uses a token with the scopes that the request needs, and with no scope that the route may not add', () => {
  const isUsable = (needed: readonly string[], added: readonly string[]) => {
    const entry = entryOf({ route: routeOf({ stepUp: ['write', 'delete'] }), added: needed });
    const place = placeOf(entry, entry.session.subject, NEW_KEY, 'cambist');
    const value = sealToken(portableOf('issued'), added, place);
    const rules = { clock, maxAgeMs: () => 300_000, random: () => 0.5, isRefused: () => false };
    return usableToken(value, place, undefined, rules) !== undefined;
  };
  assert.ok(isUsable([], []) && isUsable([], ['write']) && isUsable(['write'], ['delete', 'write']));
  assert.ok(!isUsable(['write'], []) && !isUsable(['write'], ['delete']));
  assert.ok(!isUsable([], ['admin']) && !isUsable(['write'], ['write', 'admin']));
});

test('restores the scope and the expiry of a token, and never the token of the caller', () => {
  const entry = entryOf();
  const settings = { clock, maxAgeMs: () => 300_000, random: () => 0.5 };
  const restored = (token: string) => restoreToken(portableOf(token), entry, entry.session.subject, settings);
  const { granted, lifetime } = restored('issued');
  assert.equal(granted.scope, 'repo');
  assert.equal(lifetime.expiresAtMonotonicMs, clock.monotonicMs() + 5000);
  assert.throws(
    () => restored(entry.session.subject.token.reveal()),
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

const secret = new Secret('the token of a caller');
const CONTEXT = ['token', 'cambist:{slot}:t:name', 'subject:resource'] as const;
const sealed = seal('issued', secret, NEW_KEY, CONTEXT);
const opened = (value: unknown) => open(value, secret, NEW_KEY, CONTEXT);

test('opens exactly the text that was sealed', () => {
  void fc.assert(
    fc.property(fc.string({ maxLength: 500 }), fc.boolean(), (text, hasSecret) => {
      const used = hasSecret ? secret : undefined;
      assert.equal(open(seal(text, used, NEW_KEY, CONTEXT), used, NEW_KEY, CONTEXT), text);
    }),
    { numRuns: 50 },
  );
});

test('opens nothing after a change of any character', () => {
  void fc.assert(
    fc.property(fc.nat(sealed.length - 1), fc.constantFrom(...'AZaz09-_=+/ .'), (at, character) => {
      fc.pre(sealed[at] !== character);
      const altered = sealed.slice(0, at) + character + sealed.slice(at + 1);
      assert.equal(opened(altered), undefined);
    }),
    { numRuns: 200 },
  );
});

test('opens neither a part of a value nor a longer value', () => {
  for (let end = 0; end < sealed.length; end += 1) assert.equal(opened(sealed.slice(0, end)), undefined);
  assert.equal(opened(`${sealed}AAAA`), undefined);
});

test('opens one spelling of a value alone', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const sealed = seal('token', secret, NEW_KEY, CONTEXT);
  const sameBytes = sealed.slice(0, -1) + alphabet[alphabet.indexOf(sealed.at(-1) as string) + 1];
  assert.deepEqual(Buffer.from(sameBytes, 'base64url'), Buffer.from(sealed, 'base64url'));
  for (const other of [sameBytes, `${sealed}=`, `${sealed} `]) assert.equal(opened(other), undefined);
});

test('opens no value of another caller, key, purpose or place', () => {
  assert.equal(open(sealed, new Secret('another token'), NEW_KEY, CONTEXT), undefined);
  assert.equal(open(sealed, undefined, NEW_KEY, CONTEXT), undefined);
  assert.equal(open(sealed, secret, OLD_KEY, CONTEXT), undefined);
  void fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 4 }), (parts) => {
      fc.pre(JSON.stringify(parts) !== JSON.stringify(CONTEXT));
      assert.equal(open(sealed, secret, NEW_KEY, parts as [string, ...string[]]), undefined);
    }),
    { numRuns: 50 },
  );
});

test('a value under the key alone does not open with an empty secret', () => {
  const sealed = seal('record', undefined, NEW_KEY, CONTEXT);
  assert.equal(open(sealed, new Secret(''), NEW_KEY, CONTEXT), undefined);
});

test('opens nothing of any other input, and reads no long value', () => {
  void fc.assert(
    fc.property(fc.anything(), (input) => assert.equal(opened(input), undefined)),
    { numRuns: 200 },
  );
  assert.equal(opened(seal('a'.repeat(MAX_SEALED_LENGTH), secret, NEW_KEY, CONTEXT)), undefined);
});

test('seals the same text differently each time', () => {
  const all = new Set(Array.from({ length: 100 }, () => seal('issued', secret, NEW_KEY, CONTEXT)));
  assert.equal(all.size, 100);
  // Neither salt nor nonce repeats: characters 2 to 38 of the value.
  assert.equal(new Set([...all].map((sealed) => sealed.slice(2, 38))).size, 100);
});

test('the four keys of a secret differ, and so do those of another secret', () => {
  const all = [NEW_KEY, OLD_KEY, deriveStoreKey('')].flatMap((key) => Object.values(key) as Buffer[]);
  assert.equal(new Set(all.map((key) => key.toString('hex'))).size, 12);
  assert.ok(all.every(({ length }) => length === 32));
});

test('names depend on key, purpose and value, and contain none of them', () => {
  const name = nameOf(NEW_KEY, 'token', 'alice:resource');
  assert.equal(nameOf(NEW_KEY, 'token', 'alice:resource'), name);
  assert.notEqual(nameOf(OLD_KEY, 'token', 'alice:resource'), name);
  assert.notEqual(nameOf(NEW_KEY, 'lock', 'alice:resource'), name);
  assert.match(name, /^[\w-]{43}$/);
});

test('a message reaches the other replicas, and not its sender', async (t) => {
  const { one, other } = await startPair(t);
  const got: unknown[] = [];
  one.messages.on('revoked', () => got.push('own'));
  other.messages.on('revoked', (payload) => got.push(payload));
  other.messages.on('session_ended', () => got.push('another topic'));
  assert.equal(await one.messages.publish('revoked', { sub: 'alice' }), true);
  assert.deepEqual(got, [{ sub: 'alice' }]);
});

test('drops a message that is altered, forged, of another key, or old', async (t) => {
  const clock = createFakeClock();
  const { server, one, other } = await startPair(t, { clock });
  const stranger = await startReplica(t, server, { clock, keys: [OLD_KEY] });
  let got = 0;
  other.messages.on('revoked', () => {
    got += 1;
  });
  await one.messages.publish('revoked', {});
  assert.equal(got, 1);
  const { channel = '', message = '' } = server.messages[0] ?? {};
  for (const forged of [`${message}A`, message.slice(1), '{}', '', 'A'.repeat(100_000)]) {
    server.deliver(channel, forged);
  }
  await stranger.messages.publish('revoked', {});
  clock.advance(66_000);
  server.deliver(channel, message);
  assert.equal(got, 1);
  assert.equal(other.counted('receive', 'invalid'), 7);
});

test('opens messages of replicas that still seal under the older key', async (t) => {
  const { server, ...before } = await startAlone(t, { keys: [OLD_KEY, NEW_KEY] });
  const after = await startReplica(t, server, { keys: [NEW_KEY, OLD_KEY] });
  const got: unknown[] = [];
  after.messages.on('revoked', (payload) => got.push(payload));
  await before.messages.publish('revoked', 1);
  assert.deepEqual(got, [1]);
});

test('reports that a message was not sent', async (t) => {
  const { server, messages } = await startAlone(t);
  assert.equal(await messages.publish('revoked', 'x'.repeat(20_000)), false);
  server.fault = new Error('closed');
  assert.equal(await messages.publish('revoked', {}), false);
});
