import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Secret } from '../../../src/secrets/secret.ts';
import { deriveStoreKey, nameOf } from '../../../src/shared-cache/keys.ts';
import { MAX_SEALED_LENGTH, open, seal } from '../../../src/shared-cache/seal.ts';
import { NEW_KEY, OLD_KEY } from './replica.ts';

const secret = new Secret('the token of a caller');
const CONTEXT = ['token', 'cambist:{slot}:t:name', 'subject:resource'] as const;

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
  const sealed = seal('issued', secret, NEW_KEY, CONTEXT);
  void fc.assert(
    fc.property(fc.nat(sealed.length - 1), fc.constantFrom(...'AZaz09-_=+/ .'), (at, character) => {
      fc.pre(sealed[at] !== character);
      const altered = sealed.slice(0, at) + character + sealed.slice(at + 1);
      assert.equal(open(altered, secret, NEW_KEY, CONTEXT), undefined);
    }),
    { numRuns: 200 },
  );
});

test('opens neither a part of a value nor a longer value', () => {
  const sealed = seal('issued', secret, NEW_KEY, CONTEXT);
  for (let end = 0; end < sealed.length; end += 1) {
    assert.equal(open(sealed.slice(0, end), secret, NEW_KEY, CONTEXT), undefined);
  }
  assert.equal(open(`${sealed}AAAA`, secret, NEW_KEY, CONTEXT), undefined);
});

test('opens one spelling of a value alone', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const sealed = seal('token', secret, NEW_KEY, CONTEXT);
  const sameBytes = sealed.slice(0, -1) + alphabet[alphabet.indexOf(sealed.at(-1) as string) + 1];
  assert.deepEqual(Buffer.from(sameBytes, 'base64url'), Buffer.from(sealed, 'base64url'));
  for (const other of [sameBytes, `${sealed}=`, `${sealed} `]) {
    assert.equal(open(other, secret, NEW_KEY, CONTEXT), undefined);
  }
});

test('opens no value of another caller, key, purpose or place', () => {
  const sealed = seal('issued', secret, NEW_KEY, CONTEXT);
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
    fc.property(fc.anything(), (input) => {
      assert.equal(open(input, secret, NEW_KEY, CONTEXT), undefined);
    }),
    { numRuns: 200 },
  );
  const long = seal('a'.repeat(MAX_SEALED_LENGTH), secret, NEW_KEY, CONTEXT);
  assert.equal(open(long, secret, NEW_KEY, CONTEXT), undefined);
});

test('seals the same text differently each time', () => {
  const all = new Set(Array.from({ length: 100 }, () => seal('issued', secret, NEW_KEY, CONTEXT)));
  assert.equal(all.size, 100);
  // Neither salt nor nonce repeats: characters 2 to 38 of the value.
  assert.equal(new Set([...all].map((sealed) => sealed.slice(2, 38))).size, 100);
});

test('the five keys of a secret differ, and so do those of another secret', () => {
  const all = [NEW_KEY, OLD_KEY, deriveStoreKey('')].flatMap((key) => Object.values(key) as Buffer[]);
  assert.equal(new Set(all.map((key) => key.toString('hex'))).size, 15);
  assert.ok(all.every(({ length }) => length === 32));
});

test('names depend on key, purpose and value, and contain none of them', () => {
  const name = nameOf(NEW_KEY, 'token', 'alice:resource');
  assert.equal(nameOf(NEW_KEY, 'token', 'alice:resource'), name);
  assert.notEqual(nameOf(OLD_KEY, 'token', 'alice:resource'), name);
  assert.notEqual(nameOf(NEW_KEY, 'lock', 'alice:resource'), name);
  assert.match(name, /^[\w-]{43}$/);
});
