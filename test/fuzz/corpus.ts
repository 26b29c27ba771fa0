import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;

/** Every target, by the name of its file. */
export const TARGETS: readonly string[] = readdirSync(join(here, 'targets')).map((file) => file.replace('.ts', ''));

export function corpusFolder(name: string): string {
  return join(here, 'corpus', name);
}

/** The kept inputs of a target. */
export function readCorpus(name: string): Buffer[] {
  const folder = corpusFolder(name);
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((file) => readFileSync(join(folder, file)));
}
