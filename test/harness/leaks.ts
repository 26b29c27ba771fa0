import { AssertionError } from 'node:assert';
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

export function recordSecret(secret: string): void {
  append(RECORDED.secrets, `${JSON.stringify(secret)}\n`);
}

function append(extension: string, text: string): void {
  const folder = process.env[RECORD_VARIABLE];
  if (folder !== undefined) appendFileSync(join(folder, `${process.pid}${extension}`), text);
}

export type LeakWatch = ReturnType<typeof createLeakWatch>;

/** Shorter secrets would match ordinary words. */
const MIN_SECRET_LENGTH = 8;

/** The length of the part of a signature that counts as a leak. A truncated token is also a leak. */
const SIGNATURE_PREFIX_LENGTH = 20;

export function createLeakWatch() {
  const needles = new Map<string, string>();
  let remembered = 0;
  return {
    /** Remembers a token, secret or key that must not leak. */
    remember: (secret: string): void => {
      if (secret.length < MIN_SECRET_LENGTH) {
        throw new RangeError(
          `a secret of fewer than ${MIN_SECRET_LENGTH} characters cannot be distinguished from other text`,
        );
      }
      remembered += 1;
      recordSecret(secret);
      for (const [form, needle] of formsOf(secret)) needles.set(needle, `secret ${remembered}, ${form}`);
    },
    /**
     * Searches the texts for all remembered secrets, unencoded and in common encodings.
     * @throws AssertionError with the name of the text and the form of the secret, but not the secret itself
     */
    assertNoLeak: (texts: Readonly<Record<string, string>>): void => {
      const leaks: string[] = [];
      for (const [name, text] of Object.entries(texts)) {
        for (const [needle, description] of needles) {
          if (text.includes(needle)) leaks.push(`${name} contains ${description}`);
        }
      }
      if (leaks.length > 0) throw new AssertionError({ message: leaks.join('\n') });
    },
  };
}

/** All forms in which a secret could leak. */
export function* formsOf(secret: string): Generator<[form: string, needle: string]> {
  yield ['unencoded', secret];
  yield ['urlencoded', encodeURIComponent(secret)];
  yield ['in JSON', JSON.stringify(secret).slice(1, -1)];
  // The base64 form depends on the offset of the secret in the encoded text.
  for (const offset of [0, 1, 2]) {
    const whole = Buffer.from('x'.repeat(offset) + secret, 'utf8');
    const aligned = whole.toString('base64').replace(/=+$/, '');
    const skipped = offset === 0 ? 0 : offset + 1;
    // The last group also contains bits of the following text.
    const core = aligned.slice(skipped, aligned.length - (aligned.length % 4 === 0 ? 0 : 1));
    yield ['in base64', core];
    yield ['in base64url', core.replaceAll('+', '-').replaceAll('/', '_')];
  }
  const parts = secret.split('.');
  const signature = parts[2];
  if (parts.length === 3 && signature !== undefined && signature.length >= SIGNATURE_PREFIX_LENGTH) {
    yield ['its signature', signature.slice(0, SIGNATURE_PREFIX_LENGTH)];
    yield ['the end of its signature', signature.slice(-SIGNATURE_PREFIX_LENGTH)];
  }
}
