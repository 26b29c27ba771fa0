import { readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../find-program.ts';

/** The folder into which `install-stores.sh` unpacks the programs and their libraries. */
const UNPACKED = fileURLToPath(new URL('../../../node_modules/.stores/usr/', import.meta.url));

export type StoreKind = 'valkey' | 'redis';

export const STORE_KINDS: readonly StoreKind[] = ['valkey', 'redis'];

export interface StorePrograms {
  readonly kind: StoreKind;
  readonly server: string;
  readonly cli: string;
  /** Finds the unpacked libraries. */
  readonly env: Readonly<Record<string, string>>;
}

/** @throws Error if a program is missing on this machine */
export function findStore(kind: StoreKind): StorePrograms {
  const [server, cli] = [find(`${kind}-server`), find(`${kind}-cli`)];
  if (server === undefined || cli === undefined)
    throw new Error(`${kind} is missing: run "bash test/external/store/install-stores.sh"`);
  return { kind, server, cli, env: { LD_LIBRARY_PATH: libraries() } };
}

/** Returns the programs of the first kind that this machine has. */
export function anyStore(): StorePrograms | undefined {
  const kind = STORE_KINDS.find((kind) => find(`${kind}-server`) !== undefined && find(`${kind}-cli`) !== undefined);
  return kind === undefined ? undefined : findStore(kind);
}

const find = (name: string): string | undefined => findProgram(name, join(UNPACKED, 'bin'));

/** Debian has them in a folder for each architecture. */
function libraries(): string {
  const folder = join(UNPACKED, 'lib');
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('-linux-gnu'))
      .map((name) => join(folder, name))
      .join(delimiter);
  } catch {
    return '';
  }
}
