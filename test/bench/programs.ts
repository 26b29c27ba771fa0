import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

/** Below `node_modules`, where programs find their packages and nothing is published from. */
const BUILT = new URL('../../node_modules/.cache/cambist-bench/', import.meta.url);
const SOURCES = new URL('./programs/', import.meta.url);

/**
 * Builds what runs as a process of its own, so that it runs on Node alone as cambist does: a loader would take its share of
 * memory and of the start. Packages stay as they are, as in a program that follows their READMEs.
 * @throws Error where one of them cannot be built
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

const PROGRAMS = ['far-side', 'undici-proxy', 'fastify-proxy', 'http-proxy-proxy'] as const;

export type ProgramName = (typeof PROGRAMS)[number];

export function programFile(name: ProgramName): string {
  return fileURLToPath(new URL(`${name}.mjs`, BUILT));
}
