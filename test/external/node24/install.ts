import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Installs Node 24 from the npm registry. @returns the path of the program */
export async function installNode24(): Promise<string> {
  const folder = await cachedInstall(
    'node24',
    [here('packages/package.json'), here('packages/package-lock.json')],
    (directory) =>
      runTool('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', directory], directory),
  );
  const [platform] = readdirSync(join(folder, 'node_modules')).filter((name) => name.startsWith('node-'));
  if (platform === undefined) throw new Error('the lock file contains no Node for this platform');
  return join(folder, 'node_modules', platform, 'bin/node');
}
