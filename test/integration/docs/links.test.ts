import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { anchorsOf, linksOf, listPages, listPagesIn, readProse, resolveLink } from '../../harness/pages.ts';

for (const page of listPages()) {
  test(`every link of ${page} leads to an existing file and heading`, () => {
    for (const link of linksOf(readProse(page))) {
      const { file, anchor } = resolveLink(page, link);
      assert.ok(existsSync(file), link);
      if (anchor !== undefined) assert.ok(anchorsOf(readProse(file)).includes(anchor), link);
    }
  });
}

for (const folder of ['config', 'config/recipes', 'deploy', 'test/bench']) {
  test(`${folder}/README.md leads to each page of its folder`, () => {
    const index = `${folder}/README.md`;
    const linked = new Set(linksOf(readProse(index)).map((link) => resolveLink(index, link).file));
    assert.deepEqual(
      listPagesIn(folder).filter((page) => isIndexedBy(page, folder) && page !== index && !linked.has(page)),
      [],
    );
  });
}

/** An index leads to the pages of its folder, and to the indexes of subfolders. */
function isIndexedBy(page: string, folder: string): boolean {
  return dirname(page) === folder || page.endsWith('/README.md');
}
