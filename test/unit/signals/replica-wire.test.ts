import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  batchesOf,
  MAX_QUESTIONS,
  newId,
  readEntries,
  readQuestion,
  readReply,
  writeReply,
} from '../../../src/signals/replica-wire.ts';
import { DIGESTS_LENGTH, PARTS } from '../../../src/signals/revocation-parts.ts';

const entry = fc.record({
  key: fc.constantFrom('a', 'b', '_').map((letter) => letter.repeat(43)),
  issuer: fc.string({ maxLength: 200, unit: 'binary' }),
  atMs: fc.nat(),
});
const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test('reads the questions and replies that it writes', () => {
  const ids = { id: newId(), earlier: [newId()], starting: newId(), heard: [newId(), newId()] };
  const question = { ...ids, digests: 'd'.repeat(DIGESTS_LENGTH) };
  assert.deepEqual(readQuestion(json(question)), question);
  assert.deepEqual(readQuestion(json({ ...question, starting: undefined }))?.starting, undefined);
  const reply = { id: newId(), to: [newId()], index: 0, count: 3, parts: [0, 255], entries: [] };
  assert.deepEqual(readReply(json(writeReply(reply))), reply);
  assert.deepEqual(readReply(json(writeReply({ ...reply, index: 1 }))), { ...reply, index: 1, parts: [] });
});

test('reads no malformed question or reply', () => {
  const question = { id: newId(), earlier: [], digests: 'd'.repeat(DIGESTS_LENGTH), starting: newId(), heard: [] };
  const reply = { id: newId(), to: [], index: 0, count: 1, parts: [], entries: [] };
  for (const id of [undefined, 7, '', `${newId()}x`, `${newId()}\n`, '.'.repeat(16)]) {
    assert.equal(readQuestion({ ...question, id }), undefined);
    assert.equal(readReply({ ...reply, id }), undefined);
    assert.equal(readQuestion({ ...question, starting: id })?.starting, undefined);
  }
  for (const digests of [undefined, 'd', 'd'.repeat(DIGESTS_LENGTH + 1), new Array(DIGESTS_LENGTH).fill('d')]) {
    assert.equal(readQuestion({ ...question, digests }), undefined);
  }
  for (const wrong of [{ to: 'x' }, { parts: 7 }, { count: 0 }, { count: 10_001 }, { index: 1 }, { index: -1 }]) {
    assert.equal(readReply({ ...reply, ...wrong }), undefined, JSON.stringify(wrong));
  }
});

test('reads any value without an error, and bounds what it returns', () => {
  const long = fc.constant(Array.from({ length: 10_000 }, () => newId()));
  const value = fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        id: fc.oneof(fc.constant(newId()), fc.jsonValue()),
        digests: fc.oneof(fc.constant('d'.repeat(DIGESTS_LENGTH)), fc.jsonValue()),
        starting: fc.jsonValue(),
        earlier: fc.oneof(long, fc.jsonValue()),
        heard: fc.oneof(long, fc.jsonValue()),
        to: fc.oneof(long, fc.jsonValue()),
        index: fc.oneof(fc.nat(3), fc.jsonValue()),
        count: fc.oneof(fc.nat(3), fc.jsonValue()),
        parts: fc.oneof(fc.array(fc.integer()), fc.jsonValue()),
        entries: fc.oneof(fc.array(entry), fc.jsonValue()),
      },
      { requiredKeys: [] },
    ),
  );
  fc.assert(
    fc.property(value, (each) => {
      const { earlier = [], heard = [] } = readQuestion(each) ?? {};
      assert.ok(earlier.length <= MAX_QUESTIONS && heard.length <= MAX_QUESTIONS);
      const reply = readReply(each);
      if (reply === undefined) return;
      assert.ok(reply.to.length <= MAX_QUESTIONS && reply.index < reply.count);
      assert.ok(reply.parts.every((part) => Number.isInteger(part) && part >= 0 && part < PARTS));
    }),
  );
});

test('skips entries that are malformed', () => {
  const [key, issuer, atMs] = ['k'.repeat(43), 'https://idp.example.com', 5];
  const good = [
    [key, issuer, atMs],
    ['', 'i'.repeat(2048), atMs],
  ];
  const bad = [
    ...[null, {}, [], [key], [key, issuer], [7, issuer, atMs], [key, 7, atMs], [key, issuer, '5'], [key, issuer, null]],
    ...[`${key}k`, 'k', `${key}\n`, `.${key}`].map((wrong) => [wrong, issuer, atMs]),
    ...[Number.NaN, Number.POSITIVE_INFINITY].map((wrong) => [key, issuer, wrong]),
    [key, 'i'.repeat(2049), atMs],
  ];
  assert.deepEqual(
    readEntries([...bad, ...good]),
    good.map(([k, i, at]) => ({ key: k, issuer: i, atMs: at })),
  );
  for (const value of [undefined, null, 'text', { 0: good[0] }]) assert.deepEqual(readEntries(value), []);
});

test('the largest messages of replicas fit in a message of the shared cache', () => {
  const ids = Array.from({ length: MAX_QUESTIONS }, newId);
  const parts = Array.from({ length: PARTS }, (_, part) => part);
  fc.assert(
    fc.property(fc.array(entry, { minLength: 60, maxLength: 120 }), (entries) => {
      for (const batch of batchesOf(entries)) {
        const reply = { id: newId(), to: ids, index: 0, count: 10_000, parts, entries: batch };
        assert.ok(Buffer.byteLength(JSON.stringify(writeReply(reply))) < 12_000);
      }
    }),
    { numRuns: 20 },
  );
  const digests = 'd'.repeat(DIGESTS_LENGTH);
  const question = { id: newId(), earlier: ids, digests, starting: newId(), heard: ids };
  assert.ok(JSON.stringify(question).length < 12_000);
});
