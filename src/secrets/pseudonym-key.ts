import { CambistError } from '../errors.ts';
import { type CredentialSource, MIN_KEY_LENGTH, readCredential } from './credential.ts';
import type { Secret } from './secret.ts';

const NAME = 'audit.pseudonymize.key';

/** Reads the key of pseudonyms. @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE, also if the key is too short */
export async function readPseudonymKey(source: CredentialSource): Promise<Secret> {
  const key = await readCredential(source, NAME);
  if (key.reveal().length >= MIN_KEY_LENGTH) return key;
  throw new CambistError(
    'ERR_CREDENTIAL_UNAVAILABLE',
    `${NAME}: the key is shorter than ${MIN_KEY_LENGTH} characters: use a long random key`,
  );
}
