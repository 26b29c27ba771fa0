import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from './cached-install.ts';

const REQUIREMENTS = fileURLToPath(new URL('uv/requirements.txt', import.meta.url));

/**
 * Installs the packages of a file of pins into a new virtual environment `venv`, with uv: pip takes 45 seconds of processor time for
 * 118 packages, and uv 3. Python compiles a module when it imports it.
 * @throws Error if Python is missing or the package index is unreachable
 */
export async function installPythonPackages(folder: string, requirements: string, python = 'python3'): Promise<void> {
  const uv = join(await installUv(), 'venv/bin/uv');
  await runTool(uv, ['venv', '--quiet', '--no-python-downloads', '--python', python, 'venv'], folder);
  await runTool(
    uv,
    ['pip', 'install', '--quiet', '--python', 'venv/bin/python', '--no-deps', '-r', requirements],
    folder,
  );
}

function installUv(): Promise<string> {
  return cachedInstall('uv', [REQUIREMENTS], async (folder) => {
    await runTool('python3', ['-m', 'venv', 'venv'], folder);
    await runTool(join(folder, 'venv/bin/pip'), ['install', '--quiet', '-r', 'requirements.txt'], folder);
  });
}
