import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { handleOfRequest, handlesIn, handleText, readHandle } from '../../../src/inbound/handle-text.ts';

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64url'));

test('finds a handle in any text around it, plain, percent-encoded, and with the number of its request', () => {
  const around = fc.string().filter((text) => !/[\w%-]/.test(text));
  fc.assert(
    fc.property(digest, around, around, fc.nat(), (one, before, after, request) => {
      const text = handleText(one);
      const encoded = [...text].map((char) => `%${char.charCodeAt(0).toString(16)}`).join('');
      for (const written of [text, encoded, handleOfRequest(text, request)]) {
        assert.deepEqual([...new Set(handlesIn(`${before}${written}${after}`))], [text]);
      }
    }),
  );
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
