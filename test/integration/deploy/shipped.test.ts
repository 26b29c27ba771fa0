import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { codeWords, tableRows } from '../../harness/markdown.ts';
import { broughtBy, megabytes, SHIPPED } from '../../harness/shipped-packages.ts';

const readme = readFileSync('deploy/image.md', 'utf8');
const rows = tableRows(readme, 'with dependencies');

/** A package grows with its versions; more than this is to be seen by somebody. */
const GROWTH = 1.25;
const SMALL_MB = 0.2;

test('deploy/image.md lists every package that cambist asks for, and no other', () => {
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  const listed = rows.map(([name]) => codeWords(name ?? '')[0]);
  assert.deepEqual(listed.sort(), Object.keys(dependencies).sort());
});

test('every package that ships is brought by one of them', () => {
  const brought = new Set(rows.flatMap(([name]) => broughtBy(codeWords(name ?? '')[0] ?? '')));
  assert.deepEqual([...brought].sort(), [...SHIPPED].sort());
});

test('every package and what it brings is about as large as deploy/image.md says', () => {
  for (const [name = '', , size] of rows) {
    const actual = megabytes(broughtBy(codeWords(name)[0] ?? ''));
    assert.ok(isAbout(actual, Number(size)), `${name} is ${actual.toFixed(1)} MB: image.md ${size}`);
  }
});

test('what ships is about as large as deploy/image.md says, all told', () => {
  const [, count, total] = /(\d+) packages of npm, (\d+) MB of files/.exec(readme) ?? [];
  assert.equal(SHIPPED.length, Number(count));
  const actual = megabytes(SHIPPED);
  assert.ok(isAbout(actual, Number(total)), `${actual.toFixed(1)} MB: image.md ${total}`);
});

function isAbout(actual: number, said: number): boolean {
  return actual <= said * GROWTH + SMALL_MB && said <= actual * GROWTH + SMALL_MB;
}
