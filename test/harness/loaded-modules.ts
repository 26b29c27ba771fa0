import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const OWN = new URL('../../src/', import.meta.url).href;

/** Packages that compile schemas for Fastify. Our servers have no schemas. */
export const SCHEMA_COMPILERS = [
  'ajv',
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
] as const;

/** The modules that a process loaded: packages by name, and cambist's own files, such as `proxy/pipeline.ts`. */
export interface Loaded {
  readonly packages: ReadonlySet<string>;
  readonly own: readonly string[];
}

/** The part of Node's coverage format that is read here. */
interface Coverage {
  readonly result: readonly { readonly url: string }[];
  /** By the URL of a file with a source map. */
  readonly 'source-map-cache'?: Readonly<Record<string, { readonly data: { readonly sources: readonly string[] } }>>;
}

/**
 * Reads the output of a process with NODE_V8_COVERAGE. Only Node's coverage lists both ES modules and CommonJS modules. The source
 * map of a built file lists its sources.
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

/** The package of a file, by its path or URL. */
function packageOf(path: string): string | undefined {
  return /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1];
}
