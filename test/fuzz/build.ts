import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin, transform } from 'esbuild';
import { createInstrumenter } from 'istanbul-lib-instrument';
import { COVERAGE_VARIABLE } from './worker.ts';

const here = import.meta.dirname;
const SOURCES = join(here, '../../src/');

/** A string literal that may be a word of an input. */
const LITERAL = /(['"`])((?:(?!\1)[ -~]){2,40})\1/g;

/**
 * Bundles a target with the worker's loop. Counters are added to cambist's own code only.
 * @returns a script for a worker thread, and texts in the sources, which mutations insert
 */
export async function buildTarget(name: string, directory: string) {
  const words = new Set<string>();
  const instrument: Plugin = {
    name: 'instrument',
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (!path.startsWith(SOURCES)) return undefined;
        const { code } = await transform(await readFile(path, 'utf8'), { loader: 'ts', target: 'node20.19' });
        for (const [, , word = ''] of code.matchAll(LITERAL)) words.add(word);
        const instrumenter = createInstrumenter({ esModules: true, coverageVariable: COVERAGE_VARIABLE });
        return { contents: instrumenter.instrumentSync(code, path), loader: 'js' };
      });
    },
  };
  const file = join(directory, `${name}.cjs`);
  await build({
    stdin: {
      contents: `import { fuzz } from './targets/${name}.ts'; import { runWorker } from './worker.ts'; runWorker(fuzz);`,
      resolveDir: here,
    },
    outfile: file,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20.19',
    plugins: [instrument],
    logLevel: 'warning',
  });
  return { file, words: [...words] };
}
