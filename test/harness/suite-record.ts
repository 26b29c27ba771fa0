import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

/** The environment variable with the folder where a full run records all logs and all secrets. */
export const RECORD_VARIABLE = 'CAMBIST_TEST_RECORD';

/** File extensions. Each process writes its own two files, because processes run concurrently. */
export const RECORDED = { logged: '.logged', secrets: '.secrets' } as const;

/** Records output of cambist, for the search at the end of the run. */
export function recordLogged(text: string): void {
  append(RECORDED.logged, `${text}\n`);
}

/** Records a token, secret or key of a test. */
export function recordSecret(secret: string): void {
  append(RECORDED.secrets, `${JSON.stringify(secret)}\n`);
}

function append(extension: string, text: string): void {
  const folder = process.env[RECORD_VARIABLE];
  if (folder !== undefined) appendFileSync(join(folder, `${process.pid}${extension}`), text);
}
