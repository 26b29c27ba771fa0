import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCheckRequest, writeCheckResponse } from '../../src/decisions/check-messages.ts';
import { readFields, writeBytes, writeNumber } from '../../src/protobuf.ts';
import { checkRequest } from '../harness/check-client.ts';

test('writes numbers and lengths as the encoding says', () => {
  assert.equal(writeNumber(1, 150).toString('hex'), '089601');
  assert.equal(writeBytes(2, 'testing').toString('hex'), '120774657374696e67');
  const long = writeBytes(300, Buffer.alloc(70_000));
  assert.equal(readFields(long).get(300)?.[0]?.length, 70_000);
});

test('a check that ends early anywhere is malformed, or has less in it', () => {
  const whole = checkRequest({ headers: [['authorization', 'Bearer abc']], rawBody: 'body' });
  for (let length = 1; length < whole.length; length++) {
    assert.throws(() => readCheckRequest(whole.subarray(0, length)), RangeError, String(length));
  }
  const { method, url, body } = readCheckRequest(whole);
  assert.deepEqual([method, url, String(body)], ['GET', '/github/x?a=1', 'body']);
});

test('only a 200 with a list of headers to remove is allowed', () => {
  const isAllowed = (status: number, headers: Record<string, string>): boolean =>
    readFields(writeCheckResponse({ status, headers, body: '' })).has(3);
  const removal = { 'x-envoy-auth-headers-to-remove': 'authorization' };
  assert.equal(isAllowed(200, removal), true);
  for (const [status, headers] of [
    [200, {}],
    [204, removal],
    [403, removal],
    [503, {}],
  ] as const) {
    assert.equal(isAllowed(status, headers), false);
  }
});
