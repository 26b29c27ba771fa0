import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../harness/lifetime.ts';
import { createRandom } from '../harness/random.ts';
import { type BackendIdentity, createLedger, createRotatedSecret, OWN_CLIENT } from './ledger.ts';

const RED: BackendIdentity = { name: 'red', credential: 'exchange' };

type Parts = ReturnType<typeof createParts>;

function createParts() {
  let nowMs = 0;
  const ledger = createLedger(createRandom(1), () => nowMs);
  return {
    ledger,
    /** Advances the clock. */
    advance: (ms: number) => {
      nowMs += ms;
    },
    issued: (owner: string, backend = 'red') => ledger.create({ kind: 'issued', owner, backend, endsAtMs: 1000 }),
  };
}

test('accepts a token that was issued for this caller and this backend', () => {
  const { ledger, issued } = createParts();
  ledger.checkArrival(RED, 'alice', [`Bearer ${issued('alice')}`], 'x-kept: yes');
  assert.deepEqual(ledger.violations, []);
  assert.equal(ledger.correct, 1);
});

const WRONG: Record<string, (parts: Parts) => [backend: BackendIdentity, authorization: string[], rest?: string]> = {
  "another caller's token": ({ issued }) => [RED, [`Bearer ${issued('bob')}`]],
  'a token for another backend': ({ issued }) => [RED, [`Bearer ${issued('alice', 'blue')}`]],
  "the caller's own token": ({ ledger }) => [RED, [`Bearer ${ledger.create({ kind: 'subject', owner: 'alice' })}`]],
  'a copy of a JWT in another header': ({ ledger, issued }) => [
    RED,
    [`Bearer ${issued('alice')}`],
    `x-copy: ${ledger.create({ kind: 'subject', owner: 'alice' }, { sub: 'alice' })}`,
  ],
  "a token of cambist's own client": ({ issued }) => [RED, [`Bearer ${issued(OWN_CLIENT)}`]],
  'an expired token': ({ issued, advance }) => {
    const token = issued('alice');
    advance(2000);
    return [RED, [`Bearer ${token}`]];
  },
  'a made-up token': () => [RED, ['Bearer made-up']],
  'no token': () => [RED, []],
  'two tokens': ({ issued }) => [RED, [`Bearer ${issued('alice')}`, `Bearer ${issued('alice')}`]],
  'any token where none belongs': ({ issued }) => [{ name: 'open', credential: 'none' }, [issued('alice', 'open')]],
  "another caller's token on a passthrough route": ({ ledger }) => [
    { name: 'own', credential: 'passthrough' },
    [`Bearer ${ledger.create({ kind: 'subject', owner: 'bob' })}`],
  ],
};

for (const [name, create] of Object.entries(WRONG)) {
  test(`reports ${name}`, () => {
    const parts = createParts();
    const [backend, authorization, rest = ''] = create(parts);
    parts.ledger.checkArrival(backend, 'alice', authorization, rest);
    assert.equal(parts.ledger.violations.length, 1);
  });
}

test('finds tokens of all kinds in a text', () => {
  for (const claims of [undefined, { sub: 'alice' }]) {
    const { ledger } = createParts();
    const token = ledger.create({ kind: 'subject', owner: 'alice' }, claims);
    ledger.checkText('the log', `{"msg":"${token}"}`);
    assert.deepEqual(ledger.violations, ['the log contains a token (subject) of alice']);
  }
});

test('the same seed makes the same choices', () => {
  const draw = (seed: number): unknown => {
    const { int, chance, pick, hex, shuffle } = createRandom(seed);
    return [int(100), chance(0.5), pick(['a', 'b', 'c']), hex(8), shuffle([1, 2, 3])];
  };
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
});

test('accepts the current client secret and the previous one, and reports an unknown one', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'secret');
  const ledger = createLedger(createRandom(1), () => 0);
  const secret = createRotatedSecret(file, ledger);
  await secret.rotate();
  const first = await readFile(file, 'utf8');
  await secret.rotate();
  const second = await readFile(file, 'utf8');
  assert.notEqual(first, second);
  secret.check(first);
  secret.check(second);
  assert.deepEqual(ledger.violations, []);
  secret.check('made up');
  assert.equal(ledger.violations.length, 1);
});
