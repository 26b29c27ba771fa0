import assert from 'node:assert/strict';
import type { LookupOptions } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { test } from 'node:test';
import { createSystemLookup } from '../../../src/transport/system-lookup.ts';

/** A system that responds when it is told to. */
function heldSystem() {
  const questions: { hostname: string; respond: Parameters<LookupFunction>[2] }[] = [];
  const lookup = createSystemLookup((hostname, _options, respond) => void questions.push({ hostname, respond }));
  const found: string[] = [];
  const ask = (hostname: string, options: LookupOptions = { all: true }) =>
    lookup(hostname, options, (error, address) => void found.push(error?.message ?? JSON.stringify(address)));
  return { questions, found, ask };
}

test('asks once for a name that several connections wait for', () => {
  const { questions, found, ask } = heldSystem();
  for (let connection = 0; connection < 20; connection++) ask('slow.example.com');
  ask('other.example.com');
  assert.deepEqual(
    questions.map(({ hostname }) => hostname),
    ['slow.example.com', 'other.example.com'],
  );
  questions[0]?.respond(null, [{ address: '192.0.2.1', family: 4 }]);
  assert.deepEqual(found, Array(20).fill('[{"address":"192.0.2.1","family":4}]'));
});

test('asks again after a result, so that it finds a new address', () => {
  const { questions, found, ask } = heldSystem();
  ask('a.example.com');
  questions[0]?.respond(new Error('EAI_AGAIN'), '');
  ask('a.example.com');
  questions[1]?.respond(null, '192.0.2.1');
  ask('a.example.com');
  questions[2]?.respond(null, '192.0.2.2');
  assert.deepEqual(found, ['EAI_AGAIN', '"192.0.2.1"', '"192.0.2.2"']);
});

test('does not share the result of another question about the same name', () => {
  const { questions, ask } = heldSystem();
  ask('a.example.com', { all: true });
  ask('a.example.com', { family: 4 });
  ask('a.example.com', { family: 6 });
  assert.equal(questions.length, 3);
});

test('can ask again after a question that could not be asked', () => {
  let isBroken = true;
  const lookup = createSystemLookup((_hostname, _options, respond) => {
    if (isBroken) throw new TypeError('invalid options');
    setImmediate(() => respond(null, '192.0.2.1', 4));
  });
  assert.throws(() => lookup('a.example.com', {}, () => {}), TypeError);
  isBroken = false;
  return new Promise<void>((resolve) => {
    lookup('a.example.com', {}, (error, address) => {
      assert.deepEqual([error, address], [null, '192.0.2.1']);
      resolve();
    });
  });
});
