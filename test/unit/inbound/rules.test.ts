import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { claimHeaders, isOpen } from '../../../src/inbound/rules.ts';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';

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

const OPEN = [
  { path: '/healthz', isPrefix: false },
  { path: '/public/', isPrefix: true },
];
const open = (url: string) => isOpen(parseRequestTarget(url, ['h']), OPEN);

const piece = fc.constantFrom(
  '/',
  'healthz',
  'public',
  '.',
  '..',
  '%2e',
  '%2F',
  ';',
  '\\',
  '?',
  '#',
  '%',
  ' ',
  '\t',
  'x',
  '%00',
);

test('opens no spelling that a server could read as another path', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const url = `/${pieces.join('')}`;
      if (!open(url)) return;
      const [path = ''] = url.split('?');
      assert.ok(path === '/healthz' || path.startsWith('/public/'), url);
      // Every server reads this path as it is.
      assert.equal(new URL(path, 'http://h').pathname, path);
      assert.doesNotMatch(path, /[%;\\#\s]|\/\/|\/\.\.?(?:\/|$)/);
    }),
    { numRuns: 2000 },
  );
});

test('opens no path with an escape, which some servers decode twice', () => {
  for (const url of ['/public/%', '/public/%25', '/public/%252e%252e/', '/public/%C3%A9']) assert.ok(!open(url), url);
});

test('opens exact paths and prefixes, with any query, in origin-form and absolute-form', () => {
  for (const url of ['/healthz', '/healthz?a=/../b', '/public/', '/public/a', 'http://other/healthz'])
    assert.ok(open(url), url);
  for (const url of ['/healthz/', '/public', '/', '*', 'healthz', 'http://other']) assert.ok(!open(url), url);
});
