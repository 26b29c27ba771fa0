import { createReadStream } from 'node:fs';
import { CambistError } from '../errors.ts';
import type { CredentialSource } from './config.ts';
import { Secret } from './secret.ts';

/** Largest secret, key or token file that is read; a certificate chain fits well within. */
const MAX_CREDENTIAL_BYTES = 256 * 1024;
/** A file is read in no time; a pipe that nobody writes to is not. */
const READ_TIMEOUT_MS = 5000;

/**
 * Reads a secret, key or token from where it lies now. Trailing line ends are not part of it.
 * @param what the thing's name in messages, as in `client secret of authorization server "keycloak"`
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE where it is missing, unreadable, empty or too large
 */
export async function readCredential(source: CredentialSource, what: string): Promise<Secret> {
  const text = 'env' in source ? readEnvironment(source.env, what) : await readSecretFile(source.file, what);
  const value = text.replace(/[\r\n]+$/, '');
  if (value === '') {
    const place = 'env' in source ? `environment variable "${source.env}"` : `file "${source.file}"`;
    throw unavailable(`${what}: ${place} is empty: write the value into it`);
  }
  return new Secret(value);
}

function readEnvironment(name: string, what: string): string {
  const value = process.env[name];
  if (value === undefined) throw unavailable(`${what}: environment variable "${name}" is not set: set it`);
  return value;
}

async function readSecretFile(file: string, what: string): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    // As a stream, since a device or a pipe in its place has no end, or never begins.
    const options = { end: MAX_CREDENTIAL_BYTES, signal: AbortSignal.timeout(READ_TIMEOUT_MS) };
    for await (const chunk of createReadStream(file, options)) chunks.push(chunk as Buffer);
  } catch (cause) {
    throw unavailable(`${what}: file "${file}" cannot be read: mount it, and let this user read it`, cause);
  }
  const content = Buffer.concat(chunks);
  if (content.length > MAX_CREDENTIAL_BYTES) {
    throw unavailable(`${what}: file "${file}" is larger than ${MAX_CREDENTIAL_BYTES} bytes: is it the right file?`);
  }
  return content.toString('utf8');
}

function unavailable(message: string, cause?: unknown): CambistError {
  return new CambistError('ERR_CREDENTIAL_UNAVAILABLE', message, { cause });
}
