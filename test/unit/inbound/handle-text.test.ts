import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { handleOfRequest, handlesIn, handleText, readHandle } from '../../../src/inbound/handle-text.ts';

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64url'));

const percentEncoded = (text: string) =>
  [...text].map((char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`).join('');

test('finds a handle in any text around it, plain and encoded, and with the number of its request', () => {
  fc.assert(
    fc.property(digest, fc.string(), fc.string(), fc.nat(), (one, before, after, request) => {
      const text = handleText(one);
      for (const written of [text, handleOfRequest(text, request)]) {
        const whole = Buffer.from(`${before}${written}${after}`);
        for (const around of [
          `${before}${written}${after}`,
          `${before.replaceAll('%', '')}${percentEncoded(percentEncoded(written))}${after}`,
          `Basic ${whole.toString('base64')}`,
          `a-word_${whole.toString('base64url')}`,
          `s=${percentEncoded(whole.toString('base64'))}`,
        ]) {
          assert.deepEqual([...new Set(handlesIn(around))], [text], around);
        }
      }
    }),
  );
});

test('takes text that looks like a handle for one as a word of its own only', () => {
  const unknown = `cbh_${'A'.repeat(43)}`;
  for (const text of [unknown, `Bearer ${unknown}`, `x=${unknown};`])
    assert.deepEqual(handlesIn(text), [unknown], text);
  for (const text of ['', 'cbh_', `${unknown}A`, `x${unknown}`, `cbh_${unknown}`, unknown.slice(0, -1)]) {
    assert.deepEqual(handlesIn(text), [], text);
  }
});

test('searches text that is full of prefixes once', () => {
  const text = handleText('A'.repeat(43));
  for (const filler of ['cbh_', '%63bh_', 'Y2JoX', '%', 'A']) {
    assert.deepEqual([...new Set(handlesIn(`${filler.repeat(200_000)} ${text}`))], [text]);
  }
});

test('reads a handle that stands alone, and the number of its request', () => {
  fc.assert(
    fc.property(digest, fc.integer({ min: 0, max: 1e12 }), (one, request) => {
      const text = handleText(one);
      assert.deepEqual(readHandle(text), { text, request: undefined });
      assert.deepEqual(readHandle(handleOfRequest(text, request)), { text, request });
      for (const other of [
        `${text} `,
        `x${text}`,
        `${text}.`,
        `${text}.-1`,
        `${text}.1.1`,
        `${text}.${'z'.repeat(11)}`,
      ]) {
        assert.equal(readHandle(other), undefined, other);
      }
    }),
  );
});
