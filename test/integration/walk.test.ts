import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import { startGateway } from '../harness/gateway.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The files of src in which a function runs during `work`. */
async function filesThatRun(work: () => Promise<unknown>): Promise<string[]> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  await work();
  const { result } = await session.post('Profiler.takePreciseCoverage');
  session.disconnect();
  return result
    .filter(({ functions }) => functions.some(({ ranges }) => ranges.some(({ count }) => count > 0)))
    .map(({ url }) => (url.startsWith('file:') ? relative(root, fileURLToPath(url.replace(/\?.*/, ''))) : ''))
    .filter((file) => file.startsWith('src/'))
    .sort();
}

/** The files that a section of src/README.md lists. */
function listedFiles(heading: string): string[] {
  const readme = readFileSync(new URL('../../src/README.md', import.meta.url), 'utf8');
  const section = readme.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/`((?:[a-z0-9-]+\/)*[a-z0-9-]+\.ts)`/g)].map(([, file]) => `src/${file}`).sort();
}

test('src/README.md lists the files that a cached call runs through', async (t) => {
  const { app, authorization } = await startGateway(t);
  // A kept-alive connection: the measured call does not accept a new one.
  const client = new Pool(app.url, { connections: 1 });
  t.after(() => client.close());
  const once = async () => {
    const { body } = await client.request({ path: '/github', method: 'POST', headers: { authorization }, body: '{}' });
    return body.text();
  };
  await once();
  const ran = await filesThatRun(once);
  assert.deepEqual(listedFiles('The path of a cached call'), ran);
});
