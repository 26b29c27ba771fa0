import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder into which `install-prometheus.sh` unpacks programs that are missing in the PATH. */
const UNPACKED = fileURLToPath(new URL('../../../node_modules/.prometheus/usr/bin', import.meta.url));

/** @throws Error if the program is missing on this machine */
export function findProgram(name: 'prometheus' | 'promtool'): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), UNPACKED];
  const found = folders.map((folder) => join(folder, name)).find(isExecutable);
  if (found === undefined)
    throw new Error(`${name} is missing: run "bash test/external/prometheus/install-prometheus.sh"`);
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
