import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { handleMembers, withHandle, withoutSecrets } from '../../../src/inbound/baggage.ts';
import { handleText } from '../../../src/inbound/handle-text.ts';
import { percentDecoded } from '../../../src/secrets/like-a-token.ts';

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
    withHandle(['=x,b,a b=1,k="v",ok=1', 't=secret-token', `h=${HANDLE}-1`], HANDLE, ['secret-token']),
    `cambist=${HANDLE},ok=1`,
  );
  const many = Array.from({ length: 100 }, (_, index) => `k${index}=v`).join();
  assert.equal(withHandle([many], HANDLE, []).split(',').length, 64);
  const long = Array.from({ length: 3 }, (_, index) => `k${index}=${'x'.repeat(4000)}`).join();
  assert.equal(withHandle([long], HANDLE, []).split(',').length, 3);
});

test('keeps only members that no SDK refuses', () => {
  for (const member of [
    'a=',
    'a=%e4%bd%a0',
    'a = 1 ; p = 2',
    'a=1;p;q=%20',
    'a=b=c',
    '%41=1',
    `a=${'x'.repeat(4094)}`,
  ]) {
    assert.equal(withHandle([member], HANDLE, []), `cambist=${HANDLE},${member}`);
  }
  for (const member of [
    ...['x=%zz', 'x=%', 'x=%ff', 'x=%ed%a0%80', 'x%=1', 'x=1;', 'x=1;=', 'x=1;;p', 'x=1;p=%zz', 'x=1;(p)=1', '(x)=1'],
    ...[`x=${'x'.repeat(4095)}`, 'x=a\\b', 'x=é', `x=\u00a0y`, `a=${'\t'.repeat(31_000)}"`, `a=1${';'.repeat(8000)}`],
  ]) {
    assert.equal(withHandle([`${member},ok=1`], HANDLE, []), `cambist=${HANDLE},ok=1`, member.slice(0, 40));
  }
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
    assert.equal(withoutSecrets(`a=1,${member},copy=${HANDLE},t=xsecret-token,b=2`, ['secret-token']), 'a=1,b=2');
  }
  assert.equal(withoutSecrets(`cambist=${HANDLE}`, []), '');
  assert.equal(withoutSecrets(' a=1 , b=2', []), ' a=1 , b=2');
});
