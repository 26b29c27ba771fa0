import { createHmac, hkdfSync } from 'node:crypto';
import { CambistError } from '../errors.ts';
import { type CredentialSource, MIN_KEY_LENGTH, readCredential } from '../secrets/credential.ts';
import { oncePerSecret, type Secret } from '../secrets/secret.ts';

/** The keys that one shared secret gives. Each has one purpose, so that no value of one can serve for another. */
export interface StoreKey {
  /** HMAC: names of entries. */
  readonly names: Buffer;
  /** HKDF: part of every key that seals a value. */
  readonly sealing: Buffer;
  /** HMAC: values of locks. */
  readonly locks: Buffer;
  /** HMAC: handles of `inbound`. */
  readonly handles: Buffer;
  /** AES-256: states of consent. */
  readonly states: Buffer;
}

/** The keys of `cache.shared.key`. The first one seals, all of them open. */
export type StoreKeyList = readonly [StoreKey, ...StoreKey[]];

/** Reads the secrets at each use, so that they can rotate. */
export interface StoreKeys {
  /** @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE, also if a secret is too short */
  read(): Promise<StoreKeyList>;
  /** The keys that were read last. Undefined before the first successful reading. */
  readonly current: StoreKeyList | undefined;
}

const NAME = 'cache.shared.key';
const KEY_BYTES = 32;

export function createStoreKeys(sources: readonly CredentialSource[]): StoreKeys {
  let current: StoreKeyList | undefined;
  return {
    async read() {
      const [first, ...others] = await Promise.all(sources.map(readStoreKey));
      if (first === undefined) throw new Error('cache.shared.key is empty');
      current = [first, ...others];
      return current;
    },
    get current() {
      return current;
    },
  };
}

async function readStoreKey(source: CredentialSource): Promise<StoreKey> {
  const secret = await readCredential(source, NAME);
  if (secret.reveal().length < MIN_KEY_LENGTH) {
    throw new CambistError(
      'ERR_CREDENTIAL_UNAVAILABLE',
      `${NAME}: the key is shorter than ${MIN_KEY_LENGTH} characters: use a long random key`,
    );
  }
  return derive(secret);
}

const derive: (secret: Secret) => StoreKey = oncePerSecret(deriveStoreKey);

/** @see RFC 5869 */
export function deriveStoreKey(secret: string): StoreKey {
  const part = (purpose: string): Buffer =>
    Buffer.from(hkdfSync('sha256', secret, '', `cambist shared cache 1 ${purpose}`, KEY_BYTES));
  return {
    names: part('names'),
    sealing: part('sealing'),
    locks: part('locks'),
    handles: part('handles'),
    states: part('states'),
  };
}

/** A keyed digest of an entry. Without the key it reveals nothing, not even to a reader who knows the token. */
export function nameOf(key: StoreKey, purpose: string, value: string): string {
  return createHmac('sha256', key.names)
    .update(JSON.stringify([purpose, value]))
    .digest('base64url');
}
