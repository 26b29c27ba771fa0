import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A test, or a setup that outlives one. It closes what is started for it. */
export interface Lifetime {
  after(close: () => unknown): void;
}

interface Part {
  close(): unknown;
}

/** Keeps the parts of a setup until `close`, which closes them in reverse order. */
export function keepParts() {
  const parts: (() => unknown)[] = [];
  const after = (close: () => unknown): void => void parts.unshift(close);
  return {
    after,
    keep<Kept extends Part>(part: Kept): Kept {
      after(() => part.close());
      return part;
    },
    async close(): Promise<void> {
      for (const end of parts.splice(0)) await end();
    },
  };
}

/** Makes an empty folder, which is removed after the test. */
export function temporaryFolder(t: Lifetime): string {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Returns a function that writes a file into this folder, and names it as a config does. */
export function writerInto(folder: string) {
  return (name: string, text: string) => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return { file };
  };
}
