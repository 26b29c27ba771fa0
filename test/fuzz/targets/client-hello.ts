import assert from 'node:assert/strict';
import { type ClientHello, MAX_HELLO_BYTES, readClientHello } from '../../../src/intercept/client-hello.ts';

/** The result does not depend on how the bytes arrive, and is final once it is known. Input: the first bytes of a connection. */
export function fuzz(data: Buffer): void {
  const whole = readClientHello(data);
  let known: ClientHello | undefined;
  for (let length = 0; length <= data.length; length += length < 64 ? 1 : 37) {
    const found = readClientHello(data.subarray(0, length));
    if (known !== undefined) assert.deepEqual(found, known, 'a result changed with further bytes');
    if (found.kind !== 'incomplete') known = found;
  }
  if (known !== undefined) assert.deepEqual(whole, known);
  if (whole.kind === 'hello' && whole.serverName !== undefined) {
    assert.match(whole.serverName, /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/);
  }
  if (whole.kind === 'incomplete') assert.ok(data.length < MAX_HELLO_BYTES);
}
