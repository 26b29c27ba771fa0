import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../harness/lifetime.ts';
import { buildCommit, isSameBuild } from './other-build.ts';

test('says why there is nothing to compare with, as in a shallow clone', (t) => {
  const build = buildCommit('no-such-revision', join(temporaryFolder(t), 'other'));
  assert.match('why' in build ? build.why : '', /"no-such-revision" is not here: this is the first commit/);
});

test('builds are the same if all that runs is the same', (t) => {
  const folder = temporaryFolder(t);
  const write = (name: string, files: Record<string, string>): string => {
    mkdirSync(join(folder, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), text);
    return join(folder, name);
  };
  const code = 'run("node_modules/any/index.js");\nend()';
  const one = write('one', { 'main.js': 'a', 'cambist.cjs': code, 'main.js.map': 'c' });
  const moved = 'run("../../x/node_modules/any/index.js")\n;end()';
  assert.ok(isSameBuild(one, write('moved', { 'main.js': 'a', 'cambist.cjs': moved, 'main.js.map': 'd' })));
  assert.ok(!isSameBuild(one, write('code', { 'main.js': 'a', 'cambist.cjs': `${code};`, 'main.js.map': 'c' })));
  assert.ok(!isSameBuild(one, write('more', { 'main.js': 'a', 'cambist.cjs': code, 'more.js': 'a' })));
});
