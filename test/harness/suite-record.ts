import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

/** Names the folder where a run of the whole suite keeps what was logged and what must not have been. */
export const RECORD_VARIABLE = 'CAMBIST_TEST_RECORD';

/** One file each for a process, since many write at a time. */
export const RECORDED = { logged: '.logged', secrets: '.secrets' } as const;

/** Keeps what a cambist printed or logged, for the search at the end of the suite. */
export function recordLogged(text: string): void {
  append(RECORDED.logged, `${text}\n`);
}

/** Keeps a token, secret or key that a test used. */
export function recordSecret(secret: string): void {
  append(RECORDED.secrets, `${JSON.stringify(secret)}\n`);
}

function append(ending: string, text: string): void {
  const folder = process.env[RECORD_VARIABLE];
  if (folder !== undefined) appendFileSync(join(folder, `${process.pid}${ending}`), text);
}
