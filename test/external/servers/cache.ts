import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Git ignores it; unlike what lies below node_modules it outlives `npm ci`, since what is in it is large. */
const CACHE = fileURLToPath(new URL('../../../.cache/', import.meta.url));

/**
 * A folder that is made once for each content of what pins it, and older ones of that name removed.
 * @param pins texts: versions, coordinates, sources
 * @param make fills the folder; one that it leaves half done is never taken for a whole one
 */
export async function cachedFolder(
  name: string,
  pins: readonly string[],
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const digest = createHash('sha256').update(JSON.stringify(pins)).digest('hex').slice(0, 16);
  const whole = `${name}-${digest}`;
  const known = await readdir(CACHE).catch((): string[] => []);
  if (known.includes(whole)) return join(CACHE, whole);
  const draft = join(CACHE, `.${whole}-${process.pid}`);
  await mkdir(draft, { recursive: true });
  try {
    await make(draft);
    await rename(draft, join(CACHE, whole));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  for (const old of known.filter((folder) => folder.startsWith(`${name}-`))) {
    await rm(join(CACHE, old), { recursive: true, force: true });
  }
  return join(CACHE, whole);
}
