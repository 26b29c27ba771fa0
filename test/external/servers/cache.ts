import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Ignored by git. Unlike node_modules, it survives `npm ci`, because its content is large. */
const CACHE = fileURLToPath(new URL('../../../.cache/', import.meta.url));

/**
 * Returns a folder that is created once for each set of pins. Removes older folders of the same name.
 * @param pins texts that identify the content: versions, coordinates, sources
 * @param make fills the folder; an incomplete folder is never used
 */
export async function cachedFolder(
  name: string,
  pins: readonly string[],
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const digest = createHash('sha256').update(JSON.stringify(pins)).digest('hex').slice(0, 16);
  const wanted = `${name}-${digest}`;
  const known = await readdir(CACHE).catch((): string[] => []);
  if (known.includes(wanted)) return join(CACHE, wanted);
  const draft = join(CACHE, `.${wanted}-${process.pid}`);
  await mkdir(draft, { recursive: true });
  try {
    await make(draft);
    await rename(draft, join(CACHE, wanted));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  for (const old of known.filter((folder) => folder.startsWith(`${name}-`))) {
    await rm(join(CACHE, old), { recursive: true, force: true });
  }
  return join(CACHE, wanted);
}
