import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CambistError } from '../errors.ts';
import type { CredentialSource } from './config.ts';
import { Secret } from './secret.ts';

/** Largest secret, key or token file that is read; a certificate chain fits well within. */
const MAX_CREDENTIAL_BYTES = 256 * 1024;
/** Else opening a pipe waits for who writes to it, and holds one of Node's few threads. Windows has no such flag. */
const OPEN_AT_ONCE = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

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
  let content: Buffer | undefined;
  try {
    content = await readStart(file);
  } catch (cause) {
    throw unavailable(`${what}: file "${file}" cannot be read: mount it, and let this user read it`, cause);
  }
  if (content === undefined) throw unavailable(`${what}: "${file}" is a folder, a device or a pipe: name a file`);
  if (content.length > MAX_CREDENTIAL_BYTES) {
    throw unavailable(`${what}: file "${file}" is larger than ${MAX_CREDENTIAL_BYTES} bytes: is it the right file?`);
  }
  return content.toString('utf8');
}

function unavailable(message: string, cause?: unknown): CambistError {
  return new CambistError('ERR_CREDENTIAL_UNAVAILABLE', message, { cause });
}

/** Up to a byte more than is allowed; undefined where it is no regular file. */
async function readStart(file: string): Promise<Buffer | undefined> {
  const handle = await open(file, OPEN_AT_ONCE);
  try {
    // A device or a pipe has no end, or never begins.
    if (!(await handle.stat()).isFile()) return undefined;
    const chunks: Buffer[] = [];
    for await (const chunk of handle.createReadStream({ end: MAX_CREDENTIAL_BYTES, autoClose: false })) {
      chunks.push(chunk as Buffer);
    }
    return Buffer.concat(chunks);
  } finally {
    await handle.close();
  }
}
