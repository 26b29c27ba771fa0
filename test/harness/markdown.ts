import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The paths of the Markdown pages in a folder, from the root of the repository. */
export function pagesOf(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => join(folder, name));
}

/** All Markdown pages of a folder, one after another. */
export function readPages(folder: string): string {
  return pagesOf(folder)
    .map((page) => readFileSync(page, 'utf8'))
    .join('\n');
}

/** The fenced blocks of a language in a Markdown text. */
export function fencedBlocks(markdown: string, language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...markdown.matchAll(fence)].map((match) => match[1] ?? '');
}

/** The rows of a Markdown table below its head, each as its cells; the table is known by a word in its head. */
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

/** What stands in backticks in a text. */
export function codeWords(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
}
