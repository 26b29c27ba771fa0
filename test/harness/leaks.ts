import { AssertionError } from 'node:assert';
import { recordSecret } from './suite-record.ts';

export interface LeakWatch {
  /** A token, secret or key that must not come out anywhere. */
  remember(secret: string): void;
  /**
   * Looks for everything remembered in every text, as it is and in the encodings in which it travels.
   * @throws AssertionError with the names of the texts and the kind of what was found, and not the secret itself
   */
  assertNoLeak(texts: Readonly<Record<string, string>>): void;
}

/** Shorter ones would be found in ordinary words. */
const MIN_SECRET_LENGTH = 8;

/** How much of a token's end must show before it counts: a log that cuts a token in half still leaks it. */
const SIGNATURE_PREFIX_LENGTH = 20;

export function createLeakWatch(): LeakWatch {
  const needles = new Map<string, string>();
  let remembered = 0;
  return {
    remember: (secret) => {
      if (secret.length < MIN_SECRET_LENGTH) {
        throw new RangeError(`a secret of fewer than ${MIN_SECRET_LENGTH} characters cannot be told from other text`);
      }
      remembered += 1;
      recordSecret(secret);
      for (const [form, needle] of formsOf(secret)) needles.set(needle, `secret ${remembered}, ${form}`);
    },
    assertNoLeak: (texts) => {
      const leaks: string[] = [];
      for (const [name, text] of Object.entries(texts)) {
        for (const [needle, what] of needles) {
          if (text.includes(needle)) leaks.push(`${name} holds ${what}`);
        }
      }
      if (leaks.length > 0) throw new AssertionError({ message: leaks.join('\n') });
    },
  };
}

/** A secret in every form in which it could come out. */
export function* formsOf(secret: string): Generator<[form: string, needle: string]> {
  yield ['as it is', secret];
  yield ['urlencoded', encodeURIComponent(secret)];
  yield ['in JSON', JSON.stringify(secret).slice(1, -1)];
  // Base64 of a text that has the secret somewhere inside depends on where in it the secret begins.
  for (const offset of [0, 1, 2]) {
    const whole = Buffer.from('x'.repeat(offset) + secret, 'utf8');
    const aligned = whole.toString('base64').replace(/=+$/, '');
    const skipped = offset === 0 ? 0 : offset + 1;
    // The last group mixes with what follows.
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
