import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { codeWords, tableRows } from '../../harness/markdown.ts';
import { megabytes, SHIPPED, withDependencies } from '../../harness/shipped-packages.ts';

const readme = readFileSync('deploy/image.md', 'utf8');
const rows = tableRows(readme, 'with dependencies');

/** The growth of a package that passes without review. */
const GROWTH = 1.25;
const SMALL_MB = 0.2;

test('deploy/image.md lists exactly the direct dependencies', () => {
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  const listed = rows.map(([name]) => codeWords(name ?? '')[0]);
  assert.deepEqual(listed.sort(), Object.keys(dependencies).sort());
});

test('every shipped package comes with one of them', () => {
  const brought = new Set(rows.flatMap(([name]) => withDependencies(codeWords(name ?? '')[0] ?? '')));
  assert.deepEqual([...brought].sort(), [...SHIPPED].sort());
});

test('every package with its dependencies has about the size in deploy/image.md', () => {
  for (const [name = '', , size] of rows) {
    const actual = megabytes(withDependencies(codeWords(name)[0] ?? ''));
    assert.ok(isAbout(actual, Number(size)), `${name} is ${actual.toFixed(1)} MB: image.md ${size}`);
  }
});

test('all shipped packages have about the total size in deploy/image.md', () => {
  const [, count, total] = /(\d+) packages of npm, (\d+) MB of files/.exec(readme) ?? [];
  assert.equal(SHIPPED.length, Number(count));
  const actual = megabytes(SHIPPED);
  assert.ok(isAbout(actual, Number(total)), `${actual.toFixed(1)} MB: image.md ${total}`);
});

function isAbout(actual: number, said: number): boolean {
  return actual <= said * GROWTH + SMALL_MB && said <= actual * GROWTH + SMALL_MB;
}
