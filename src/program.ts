import type { Script as CompiledScript } from 'node:vm';

// An `import` of a module of Node reads all its exports, and some exports of `node:fs` load further modules.
const { readFileSync } = process.getBuiltinModule('node:fs');
const { createRequire } = process.getBuiltinModule('node:module');
const { dirname } = process.getBuiltinModule('node:path');
const { Script } = process.getBuiltinModule('node:vm');

/**
 * Runs the bundle. Takes V8's code cache from the file beside it, if there is one: V8 then compiles almost nothing.
 * `deploy/code-cache.mjs` makes the cache for the image.
 *
 * @param file the bundle, a CommonJS script
 */
export function loadProgram(file: string): void {
  const cache = readCache(file);
  // Only a script that Node itself loads gets its source map.
  if (cache === undefined || process.sourceMapsEnabled) createRequire(file)(file);
  else runScript(compileProgram(file, cache), file);
}

/**
 * Compiles the bundle. V8 ignores a code cache of another version, of other flags, or of a text with another length, and compiles
 * as without one.
 */
export function compileProgram(file: string, cachedData?: Buffer): CompiledScript {
  // The bundle is ASCII. V8 keeps such a text in one byte for each character.
  return new Script(readFileSync(file, 'latin1'), { filename: file, ...(cachedData && { cachedData }) });
}

/** Runs a compiled bundle as Node runs a CommonJS module. */
export function runScript(script: CompiledScript, file: string): void {
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(file), module, file, dirname(file));
}

/** The code cache of a bundle. Its name includes no version, because both come from one build. */
export function cacheFile(file: string): string {
  return `${file}.cache`;
}

function readCache(file: string): Buffer | undefined {
  try {
    return readFileSync(cacheFile(file));
  } catch {
    return undefined;
  }
}
