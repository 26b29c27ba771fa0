import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';
import { type Driver, startDriver } from './driver.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** @throws Error if Python is missing or the package index is unreachable */
export async function startPythonDriver(): Promise<Driver> {
  const directory = await cachedInstall('python-sdk', [here('python/requirements.txt')], async (folder) => {
    await runTool('python3', ['-m', 'venv', 'venv'], folder);
    await runTool(join(folder, 'venv/bin/pip'), ['install', '--quiet', '--no-deps', '-r', 'requirements.txt'], folder);
  });
  return startDriver(join(directory, 'venv/bin/python'), [here('python/driver.py')]);
}

/** @throws Error if Go is missing or the module proxy is unreachable */
export async function startGoDriver(): Promise<Driver> {
  const sources = ['go/go.mod', 'go/go.sum', 'go/main.go'].map(here);
  const directory = await cachedInstall('go-sdk', sources, (folder) =>
    runTool('go', ['build', '-o', 'driver', '.'], folder),
  );
  return startDriver(join(directory, 'driver'));
}
