import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUILT_PROGRAM } from './run-command.ts';

const OWN = new URL('.', pathToFileURL(BUILT_PROGRAM)).href;

/** What compiles schemas for Fastify, which no server of ours has. */
export const SCHEMA_COMPILERS = [
  'ajv',
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
] as const;

/** What a process has loaded when it ends: packages by name, and cambist's own files as in `proxy/plugin.js`. */
export interface Loaded {
  readonly packages: ReadonlySet<string>;
  readonly own: readonly string[];
}

/**
 * Reads what a process left that ran with NODE_V8_COVERAGE: Node's coverage, and nothing else of Node, names modules of both
 * kinds.
 */
export async function readLoaded(directory: string): Promise<Loaded> {
  const [report = ''] = await readdir(directory);
  const { result } = JSON.parse(await readFile(join(directory, report), 'utf8')) as { result: { url: string }[] };
  const urls = result.map(({ url }) => url).filter((url) => url.startsWith('file:'));
  const packages = urls.map((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]);
  return {
    packages: new Set(packages.filter((name) => name !== undefined)),
    own: urls.filter((url) => url.startsWith(OWN)).map((url) => url.slice(OWN.length)),
  };
}
