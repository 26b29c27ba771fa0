import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

/** Below `node_modules`, so that programs find their packages. */
const BUILT = new URL('../../node_modules/.cache/cambist-bench/', import.meta.url);
const SOURCES = new URL('./programs/', import.meta.url);

/**
 * Builds the programs, so that they run on Node without a loader, like cambist. A loader would add memory and start time.
 * Packages are not bundled, as in a program that follows their READMEs.
 * @throws Error if a program cannot be built
 */
export function buildPrograms(): void {
  buildSync({
    entryPoints: PROGRAMS.map((name) => fileURLToPath(new URL(`${name}.ts`, SOURCES))),
    outdir: fileURLToPath(BUILT),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outExtension: { '.js': '.mjs' },
  });
}

const PROGRAMS = ['load-process', 'undici-proxy', 'fastify-proxy'] as const;

export type ProgramName = (typeof PROGRAMS)[number];

export function programFile(name: ProgramName): string {
  return fileURLToPath(new URL(`${name}.mjs`, BUILT));
}
