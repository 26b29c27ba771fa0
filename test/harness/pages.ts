import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

const TOP_LEVEL = ['README.md', 'CHANGELOG.md', 'SECURITY.md'];
const FOLDERS = ['config', 'deploy', 'src', 'test'];

/** Every page of documentation, as a path from the root of the repository. */
export function listPages(): string[] {
  return [...TOP_LEVEL, ...FOLDERS.flatMap(listPagesIn)].sort();
}

/** The pages of a folder and its subfolders. */
export function listPagesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
    .map((name) => posix.join(folder, name));
}

/** The text of all pages of a folder, for facts that may stand on any of them. */
export function readPagesIn(folder: string): string {
  return listPagesIn(folder)
    .sort()
    .map((page) => readFileSync(page, 'utf8'))
    .join('\n');
}

/** A page without its fenced blocks, in which `#` begins a comment. */
export function readProse(page: string): string {
  return readFileSync(page, 'utf8').replace(/^```[\s\S]*?^```$/gm, '');
}

/** The headings of a level, or of all levels, as links name them. */
export function anchorsOf(prose: string, level = '#+'): string[] {
  return [...prose.matchAll(new RegExp(`^${level} (.*)$`, 'gm'))].map(([, title = '']) => anchorOf(title));
}

export function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** The links of a page into this repository. */
export function linksOf(prose: string): string[] {
  const withoutCode = prose.replace(/`[^`\n]*`/g, '');
  return [...withoutCode.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, link = '']) => link);
}

/** The file that a link of a page leads to, and the heading in it. */
export function resolveLink(page: string, link: string): { file: string; anchor: string | undefined } {
  const [path = '', anchor] = link.split('#');
  return { file: path === '' ? page : join(page, '..', path), anchor };
}

/** The sentences of a page: of its paragraphs, list items and table cells. A code span or a link target counts as one word. */
export function sentencesOf(prose: string): string[] {
  return blocksOf(prose).flatMap((block) =>
    block
      .replace(/`[^`]*`/g, 'CODE')
      .replace(/\]\([^)]*\)/g, ']')
      .split(/(?<=[.:;?!])\s+/),
  );
}

function blocksOf(prose: string): string[] {
  const blocks: string[] = [];
  let open = false;
  for (const line of prose.split('\n')) {
    const text = line.trim();
    if (text.startsWith('|')) {
      blocks.push(...text.split('|').map((cell) => cell.trim()));
      open = false;
    } else if (text === '' || text.startsWith('#')) {
      open = false;
    } else if (!open || /^(?:[-*]|\d+\.) /.test(text)) {
      blocks.push(text);
      open = true;
    } else {
      blocks.push(`${blocks.pop()} ${text}`);
    }
  }
  return blocks;
}

/** The fenced blocks of a language in a Markdown text. */
export function fencedBlocks(markdown: string, language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...markdown.matchAll(fence)].map((match) => match[1] ?? '');
}

/** The rows of a Markdown table, as cells. The table is the first one whose header row contains `headWord`. */
export function tableRows(markdown: string, headWord: string): string[][] {
  const lines = markdown.split('\n');
  const head = lines.findIndex((line) => line.startsWith('|') && line.includes(headWord));
  const rows: string[][] = [];
  for (const line of lines.slice(head + 2)) {
    if (!line.startsWith('|')) break;
    rows.push(
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  return rows;
}

/** The code spans of a text, without their backticks. */
export function codeWords(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
}
