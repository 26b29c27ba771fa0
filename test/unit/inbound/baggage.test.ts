import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { handleMembers, withHandle, withoutHandle } from '../../../src/inbound/baggage.ts';
import { handlesIn, handleText } from '../../../src/inbound/handle-text.ts';
import { percentDecoded } from '../../../src/proxy/caller-tokens.ts';

const HANDLE = handleText('A'.repeat(43));

/** As OpenTelemetry for Python reads a header. */
function names(header: string): string[] {
  return header.split(',').map((member) => percentDecoded((member.split('=')[0] ?? '').replaceAll('+', ' ')).trim());
}

test('puts the handle first and keeps other members', () => {
  assert.equal(withHandle([], HANDLE, []), `cambist=${HANDLE}`);
  assert.equal(withHandle(['a=1;p=x, b=2', 'c=3'], HANDLE, []), `cambist=${HANDLE},a=1;p=x,b=2,c=3`);
});

test('drops members that SDKs decode to the name of the handle’s member', () => {
  for (const name of [
    'cambist',
    'c%61mbist',
    '%63%61%6d%62%69%73%74',
    'cambist+',
    '%20cambist',
    'cambist%C2%A0',
    ' cambist ',
  ]) {
    assert.equal(withHandle([`${name}=x`], HANDLE, []), `cambist=${HANDLE}`, name);
  }
});

test('drops malformed members, copies of a token, and whatever exceeds the limits of SDKs', () => {
  assert.equal(
    withHandle(['=x,b,a b=1,k="v",ok=1', 't=secret-token'], HANDLE, ['secret-token']),
    `cambist=${HANDLE},ok=1`,
  );
  const many = Array.from({ length: 100 }, (_, index) => `k${index}=v`).join();
  assert.equal(withHandle([many], HANDLE, []).split(',').length, 64);
  assert.ok(withHandle([`a=${'x'.repeat(8192)}`, 'b=1'], HANDLE, []).length <= 8192);
});

test('never gives the agent a second member with the name, whatever callers send', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('c', 'cambist', '%63', '+', ' ', '=', ',', ';', '%', 'x') })),
      (sent) => {
        const [first, ...others] = names(withHandle(sent, HANDLE, []));
        assert.equal(first, 'cambist');
        assert.ok(!others.includes('cambist'));
      },
    ),
  );
});

test('finds and removes the member of the handle', () => {
  for (const member of [`cambist=${HANDLE}`, ` cambist = ${HANDLE} ;p=1`, `c%61mbist=${HANDLE.replace('_', '%5f')}`]) {
    assert.deepEqual(handleMembers(`a=1,${member},b=2`), [HANDLE]);
    assert.equal(withoutHandle(`a=1,${member},b=2`), 'a=1,b=2');
  }
  assert.equal(withoutHandle(`cambist=${HANDLE}`), '');
  assert.equal(withoutHandle(' a=1 , b=2'), ' a=1 , b=2');
});

test('recognizes handles in any text, but not in longer words', () => {
  for (const text of [HANDLE, `Bearer ${HANDLE}`, `x=${HANDLE};`, `%22${HANDLE.replace('c', '%63')}`]) {
    assert.deepEqual([...new Set(handlesIn(text))], [HANDLE], text);
  }
  for (const text of ['', 'cbh_', `${HANDLE}A`, `x${HANDLE}`, HANDLE.slice(0, -1)])
    assert.deepEqual(handlesIn(text), []);
});
