import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { anchorsOf, linksOf, listPages, readProse, sentencesOf } from '../../harness/pages.ts';

const MAX_LINES = 300;
/** A longer sentence has two ideas, or hides its verb. */
const MAX_WORDS = 25;

for (const page of listPages()) {
  test(`${page} begins with links to its sections`, () => {
    const prose = readProse(page);
    const [intro = ''] = prose.split(/^## /m, 1);
    const contents = new Set(linksOf(intro));
    assert.deepEqual(
      anchorsOf(prose, '##').filter((section) => !contents.has(`#${section}`)),
      [],
    );
  });

  test(`${page} has fewer than ${MAX_LINES} lines`, () => {
    assert.ok(readFileSync(page, 'utf8').split('\n').length <= MAX_LINES);
  });

  test(`${page} has no sentence with more than ${MAX_WORDS} words`, () => {
    const tooLong = sentencesOf(readProse(page)).filter((sentence) => {
      const words = sentence.split(/\s+/).filter((word) => /\w/.test(word));
      return words.length > MAX_WORDS;
    });
    assert.deepEqual(tooLong, []);
  });
}
