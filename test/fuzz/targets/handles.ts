import assert from 'node:assert/strict';
import { handleMembers, withHandle, withoutSecrets } from '../../../src/inbound/baggage.ts';
import { handleOfRequest, handlesIn, handleText, readHandle } from '../../../src/inbound/handle-text.ts';

const HANDLE = handleText('h'.repeat(43));
const TOKEN = 'eyJhbGciOiJFUzI1NiJ9.e30.c2ln';

/** The agent gets one handle, and its own; no handle leaves. Input: a `baggage` value. */
export function fuzz(data: Buffer): void {
  const text = data.toString('latin1');
  const own = handleOfRequest(HANDLE, data.length);
  const given = withHandle([text], own, [TOKEN]);
  assert.ok(given.startsWith(`cambist=${own}`));
  assert.deepEqual(handleMembers(given), [own], 'the agent gets another handle');
  assert.ok(!given.includes(TOKEN), 'the agent gets a token');
  assert.ok(given.length <= 8192 && given.split(',').length <= 64);

  const left = withoutSecrets(given, [TOKEN]);
  assert.deepEqual(handleMembers(left), []);
  assert.equal(withoutSecrets(left, [TOKEN]), left);

  for (const found of handlesIn(text)) assert.match(found, /^cbh_[\w-]{43}$/);
  const read = readHandle(text);
  if (read !== undefined) {
    const { request } = read;
    assert.deepEqual(handlesIn(text), [read.text]);
    assert.ok(request === undefined || Number.isSafeInteger(request));
  }
  assert.deepEqual(readHandle(own), { text: HANDLE, request: data.length });
}
