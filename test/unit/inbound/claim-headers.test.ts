import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claimHeaders } from '../../../src/inbound/claim-headers.ts';

const headerOf = (value: unknown) => claimHeaders({ claim: value } as never, [['x-claim', 'claim']])[1];

test('sends texts, numbers, booleans and lists of them', () => {
  assert.equal(headerOf('alice'), 'alice');
  assert.equal(headerOf(7), '7');
  assert.equal(headerOf(true), 'true');
  assert.equal(headerOf(['a', 'b']), 'a,b');
});

test('encodes a comma inside a text, so that one group never looks like two', () => {
  for (const [claim, value] of [
    ['dev,admin', 'dev%2Cadmin'],
    [['dev,admin'], 'dev%2Cadmin'],
    [['dev,admin', 'ops'], 'dev%2Cadmin,ops'],
    ['dev%2Cadmin', 'dev%252Cadmin'],
  ]) {
    assert.equal(headerOf(claim), value);
  }
});

test('sends other characters as UTF-8', () => {
  assert.equal(Buffer.from(headerOf('José 李') ?? '', 'latin1').toString('utf8'), 'José 李');
});

test('leaves out claims that no header can carry', () => {
  for (const value of [
    undefined,
    null,
    {},
    [],
    [{}],
    'a\r\nx-admin: yes',
    'a\u0000',
    'a\u0085b',
    ['a\n'],
    ' admin',
    'admin\u00a0',
    ['user', ' admin'],
  ]) {
    assert.equal(headerOf(value), undefined, JSON.stringify(value));
  }
});

test('sends no property that the token does not have', () => {
  assert.deepEqual(
    claimHeaders({}, [
      ['x-a', 'constructor'],
      ['x-b', '__proto__'],
      ['x-c', 'sub'],
    ]),
    [],
  );
  assert.deepEqual(claimHeaders(undefined, [['x-a', 'sub']]), []);
});
