import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Below `node_modules`, where programs find their packages and nothing is published from. */
const BUILT = new URL('../../node_modules/.cache/cambist-bench/', import.meta.url);
const SOURCES = fileURLToPath(new URL('./programs', import.meta.url));
const COMPILER = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));

/**
 * Compiles what runs as a process of its own, so that it runs on Node alone as cambist does: a loader would take its share
 * of memory and of the start.
 */
export function buildPrograms(): void {
  const { status, stdout } = spawnSync(process.execPath, [COMPILER, '-p', SOURCES], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the programs of the bench do not compile:\n${stdout}`);
  writeFileSync(new URL('package.json', BUILT), '{"type":"module"}\n');
}

export type ProgramName = 'far-side' | 'undici-proxy' | 'fastify-proxy' | 'http-proxy-proxy';

export function programFile(name: ProgramName): string {
  return fileURLToPath(new URL(`${name}.js`, BUILT));
}
