import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cachedInstall } from '../../harness/cached-install.ts';
import { installPythonPackages } from '../../harness/python-packages.ts';
import { program } from './run-program.ts';

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
    await installPythonPackages(folder, 'requirements.txt', findPython());
  });
  return join(directory, 'venv/bin/python');
}
