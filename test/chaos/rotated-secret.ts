import { rename, writeFile } from 'node:fs/promises';
import { type Ledger, OWN_CLIENT } from './ledger.ts';

/** A file whose secret changes while cambist uses it. */
export interface RotatedSecret {
  /** Replaces the file. */
  rotate(): Promise<void>;
  /** Reports a secret that is unknown, or that was replaced too long ago. */
  check(secret: string): void;
}

/** cambist remembers a file for a second, and a request may be sent just before its secret changes. */
const MAX_STALE_MS = 5000;

export function createRotatedSecret(file: string, ledger: Ledger): RotatedSecret {
  const all: string[] = [];
  const replacedAtMs = new Map<string, number>();
  return {
    async rotate() {
      const next = ledger.create({ kind: 'secret', owner: OWN_CLIENT });
      const previous = all.at(-1);
      all.push(next);
      await writeFile(`${file}.draft`, next);
      await rename(`${file}.draft`, file);
      if (previous !== undefined) replacedAtMs.set(previous, performance.now());
    },
    check(secret) {
      if (!all.includes(secret)) ledger.report('a token request has an unknown client secret');
      const sinceMs = performance.now() - (replacedAtMs.get(secret) ?? Number.POSITIVE_INFINITY);
      if (sinceMs > MAX_STALE_MS)
        ledger.report(`a token request has a client secret that was replaced ${sinceMs} ms ago`);
    },
  };
}
