import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isOpen } from '../../../src/inbound/open-paths.ts';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';

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
