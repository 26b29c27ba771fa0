import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type * as Program from '../../src/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

test('makes a code cache that V8 accepts, from a start that is ready late', async (t) => {
  const late = `const { prototype } = process.getBuiltinModule('http').Server;
    const { emit } = prototype;
    let left = 3;
    prototype.emit = function (event, request, response) {
      if (event === 'request' && request.url === '/readyz' && left-- > 0) response.writeHead(503).end();
      else return emit.apply(this, arguments);
    };`;
  const { bundle, program } = await copyWithCache(t, {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(late)}`,
  });
  assert.equal(program.compileProgram(bundle, await readFile(program.cacheFile(bundle))).cachedDataRejected, false);
});

test('starts without the code cache if it does not fit', async (t) => {
  const { folder, bundle, program } = await copyWithCache(t);
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  const start = (...flags: string[]) => run(process.execPath, [...flags, join(folder, 'dist/main.js'), 'version']);
  // V8 takes a cache only with the flags that it was made with.
  assert.equal((await start('--no-opt')).stdout.trim(), version);
  const cache = program.cacheFile(bundle);
  await truncate(cache, 100_000);
  assert.equal(program.compileProgram(bundle, await readFile(cache)).cachedDataRejected, true);
  assert.equal((await start()).stdout.trim(), version);
  await writeFile(cache, 'no code cache');
  assert.deepEqual(await start(), { stdout: `${version}\n`, stderr: '' });
  await rm(cache);
  assert.equal((await start()).stdout.trim(), version);
});

const run = promisify(execFile);

/** A copy of the build, beside which the code cache is made. */
async function copyWithCache(
  t: TestContext,
  env: Readonly<Record<string, string>> = {},
): Promise<{ folder: string; bundle: string; program: typeof Program }> {
  const folder = temporaryFolder(t);
  for (const name of ['dist', 'package.json', 'deploy/code-cache.mjs']) {
    await cp(name, join(folder, name), { recursive: true });
  }
  await run(process.execPath, [join(folder, 'deploy/code-cache.mjs')], { env: { ...process.env, ...env } });
  const program = (await import(pathToFileURL(join(folder, 'dist/program.js')).href)) as typeof Program;
  return { folder, bundle: join(folder, 'dist/cambist.cjs'), program };
}
