import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Packages that compile schemas for Fastify. Our servers have no schemas. */
export const SCHEMA_COMPILERS = [
  'ajv',
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  'light-my-request',
] as const;

/** The modules that a process loaded: packages by name, and cambist's own files, such as `proxy/pipeline.ts`. */
export type Loaded = Awaited<ReturnType<typeof readLoaded>>;

/** The part of Node's coverage format that is read here. */
interface Coverage {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly {
      readonly functionName: string;
      readonly ranges: readonly { readonly count: number }[];
    }[];
  }[];
}

/**
 * Reads the output of a process with NODE_V8_COVERAGE. Each script of the build has a function for each module, with the path of its source as
 * name, which runs when the module is first imported.
 */
export async function readLoaded(directory: string) {
  const [file = ''] = await readdir(directory);
  const { result } = JSON.parse(await readFile(join(directory, file), 'utf8')) as Coverage;
  const sources = result
    .filter(({ url }) => url.endsWith('.cjs'))
    .flatMap(({ functions }) => functions)
    .filter(({ ranges }) => (ranges[0]?.count ?? 0) > 0)
    .map(({ functionName }) => functionName);
  return {
    packages: new Set(sources.map(packageOf).filter((name) => name !== undefined)),
    own: sources.filter((path) => path.startsWith('src/')).map((path) => path.slice('src/'.length)),
  };
}

/** The package of a file, by its path. */
function packageOf(path: string): string | undefined {
  return /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1];
}
