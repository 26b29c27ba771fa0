import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const OWN = new URL('../../src/', import.meta.url).href;

/** What compiles schemas for Fastify, which no server of ours has. */
export const SCHEMA_COMPILERS = [
  'ajv',
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
] as const;

/** What a process has loaded when it ends: packages by name, and cambist's own files as in `proxy/plugin.ts`. */
export interface Loaded {
  readonly packages: ReadonlySet<string>;
  readonly own: readonly string[];
}

/** What of Node's coverage is read here. */
interface Coverage {
  readonly result: readonly { readonly url: string }[];
  /** By the URL of a file that has a source map. */
  readonly 'source-map-cache'?: Readonly<Record<string, { readonly data: { readonly sources: readonly string[] } }>>;
}

/**
 * Reads what a process left that ran with NODE_V8_COVERAGE: Node's coverage, and nothing else of Node, names modules of both
 * kinds. What went into a file of the build its source map says.
 */
export async function readLoaded(directory: string): Promise<Loaded> {
  const [file = ''] = await readdir(directory);
  const coverage = JSON.parse(await readFile(join(directory, file), 'utf8')) as Coverage;
  const sources = coverage.result
    .flatMap(({ url }) => coverage['source-map-cache']?.[url]?.data.sources ?? [url])
    .filter((url) => url.startsWith('file:'));
  return {
    packages: new Set(sources.map(packageOf).filter((name) => name !== undefined)),
    own: sources.filter((url) => url.startsWith(OWN)).map((url) => url.slice(OWN.length)),
  };
}

/** The package that a file is of, by its path or URL. */
function packageOf(path: string): string | undefined {
  return /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1];
}
