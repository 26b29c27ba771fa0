import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pagesOf } from '../../harness/markdown.ts';

const DOCUMENTS = [
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
  'config/README.md',
  ...pagesOf('deploy'),
  'test/README.md',
];

/** A document without its fenced blocks, in which `#` begins a comment. */
function proseOf(file: string): string {
  return readFileSync(file, 'utf8').replace(/^```[\s\S]*?^```$/gm, '');
}

/** The headings, as links name them. */
function anchorsOf(prose: string): string[] {
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => anchorOf(title));
}

function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

function linksOf(prose: string): string[] {
  const withoutCode = prose.replace(/`[^`\n]*`/g, '');
  return [...withoutCode.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, link = '']) => link);
}

for (const file of DOCUMENTS) {
  test(`every link of ${file} into the repository leads to something, and to a heading where it names one`, () => {
    for (const link of linksOf(proseOf(file))) {
      const [path = '', anchor] = link.split('#');
      const leadsTo = path === '' ? file : join(file, '..', path);
      assert.ok(existsSync(leadsTo), link);
      if (anchor !== undefined) assert.ok(anchorsOf(proseOf(leadsTo)).includes(anchor), link);
    }
  });
}

test('the index of the Kubernetes guide leads to each of its pages', () => {
  const links = new Set(linksOf(proseOf('deploy/README.md')).map((link) => join('deploy', link.replace(/#.*/, ''))));
  assert.deepEqual(
    pagesOf('deploy').filter((page) => page !== 'deploy/README.md' && !links.has(page)),
    [],
  );
});
