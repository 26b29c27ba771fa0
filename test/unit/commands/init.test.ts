import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { init } from '../../../src/commands/init.ts';
import { callCommand } from '../../harness/call-command.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const BACKEND = ['--backend', 'https://mcp.example.com/mcp'];
const ISSUER = ['--issuer', 'https://idp.example.com/realms/agents'];
const FLAGS = [...BACKEND, ...ISSUER];

for (const [what, file, flags, message] of [
  ['overwrites nothing', 'mine', FLAGS, /mine exists and is left unchanged/],
  [
    'writes no invalid file',
    'new.yaml',
    ['--backend', 'http://mcp.example.com/mcp', ...ISSUER],
    /upstream: must be https[\s\S]*new\.yaml is not written/,
  ],
  [
    'does not create the folder of the file',
    'none/c.yaml',
    FLAGS,
    /none\/c\.yaml cannot be written: its folder does not exist: create the folder first$/m,
  ],
  [
    'refuses a service account without its namespace',
    'new.yaml',
    [...FLAGS, '--gateway', 'billing'],
    /must be namespace\/name[\s\S]*new\.yaml is not written/,
  ],
  ['refuses a folder', 'folder', FLAGS, /folder is a folder: name a file in it with --config$/m],
  ['refuses a link to a file that does not exist', 'link', FLAGS, /link exists and is left/m],
] as const) {
  test(`init ${what}`, async (t) => {
    const folder = temporaryFolder(t);
    await writeFile(join(folder, 'mine'), 'mine');
    await symlink('nowhere', join(folder, 'link'));
    await mkdir(join(folder, 'folder'));
    const { code, stderr } = await callCommand(init, [...flags, '--config', join(folder, file)]);
    assert.equal(code, 1);
    assert.match(stderr, message);
    assert.deepEqual((await readdir(folder)).sort(), ['folder', 'link', 'mine']);
    assert.equal(await readFile(join(folder, 'mine'), 'utf8'), 'mine');
  });
}

test('init names the missing flags where it cannot ask', async (t) => {
  const config = ['--config', join(temporaryFolder(t), 'new.yaml')];
  const { code, stderr } = await callCommand(init, config);
  assert.equal(code, 2);
  assert.match(stderr, /^init needs --backend and --issuer/);
});
