import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createUnknownMethodReader } from '../../../src/proxy/unknown-method.ts';

const UNKNOWN_METHOD = '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}';

/** Sends a body in pieces. */
function read(body: string, size: number): { passed: string; ended: boolean } {
  let ended = false;
  const reader = createUnknownMethodReader(() => {
    ended = true;
  });
  let passed = '';
  for (let at = 0; at < body.length; at += size) passed += reader.push(Buffer.from(body.slice(at, at + size)));
  assert.equal(ended, false, 'decided before the end of the body');
  passed += reader.rest();
  return { passed, ended };
}

for (const [what, body, ended] of [
  ['the error of an unknown method', UNKNOWN_METHOD, false],
  ['the error of an unknown session', UNKNOWN_METHOD.replace('-32601', '-32001'), true],
  ['a code that is not a number', UNKNOWN_METHOD.replace('-32601', '"-32601"'), true],
  ['an error that is null', '{"error":null}', true],
  ['a batch', `[${UNKNOWN_METHOD}]`, true],
  ['invalid JSON', UNKNOWN_METHOD.slice(1), true],
  ['no body', '', true],
  ['a body that is too long', `${UNKNOWN_METHOD}${' '.repeat(20_000)}`, true],
] as const) {
  test(`${ended ? 'ends' : 'keeps'} the session for ${what}`, () => {
    for (const size of [1, 7, 100_000]) assert.deepEqual(read(body, size), { passed: body, ended });
  });
}
