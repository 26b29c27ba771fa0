import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const TESTS = here('../../');

/** The tests of the bytes on the wire. How Node parses and closes connections differs between its versions. */
const FILES =
  /^(integration\/(hostile\/|http2|disconnects\.|disconnects-upgraded|unusual-requests)|external\/framing\/).*\.test\.ts$/;

const folder = await cachedInstall(
  'node24',
  [here('packages/package.json'), here('packages/package-lock.json')],
  (directory) =>
    runTool('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', directory], directory),
);
const [platform] = readdirSync(join(folder, 'node_modules')).filter((name) => name.startsWith('node-'));
if (platform === undefined) throw new Error('the lock file contains no Node for this platform');
const node = join(folder, 'node_modules', platform, 'bin/node');
const files = readdirSync(TESTS, { recursive: true, encoding: 'utf8' }).filter((name) => FILES.test(name));
const args = ['--import', 'tsx', '--test', '--test-concurrency=3', ...files.sort().map((name) => join(TESTS, name))];
const child = spawn(node, args, { stdio: 'inherit' });
[process.exitCode] = (await once(child, 'exit')) as [number];
