import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { type CredentialSource, readKey } from '../secrets/credential.ts';
import { oncePerSecret, type Secret } from '../secrets/secret.ts';
import { parseJsonObject } from '../tokens/token-text.ts';

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
}

/** The keys of `cache.shared.key`. The first one seals, all of them open. */
export type StoreKeyList = readonly [StoreKey, ...StoreKey[]];

const KEY_BYTES = 32;

/** Reads the secrets at each use, so that they can rotate. */
export type StoreKeys = ReturnType<typeof createStoreKeys>;

export function createStoreKeys(sources: readonly CredentialSource[]) {
  let current: StoreKeyList | undefined;
  return {
    /** @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE, also if a secret is too short */
    async read(): Promise<StoreKeyList> {
      const [first, ...others] = await Promise.all(
        sources.map(async (source) => derive(await readKey(source, 'cache.shared.key'))),
      );
      if (first === undefined) throw new Error('cache.shared.key is empty');
      current = [first, ...others];
      return current;
    },
    /** The keys that were read last. Undefined before the first successful reading. */
    get current() {
      return current;
    },
  };
}

const derive = oncePerSecret(deriveStoreKey);

/** @see RFC 5869 */
export function deriveStoreKey(secret: string): StoreKey {
  const part = (purpose: string): Buffer =>
    Buffer.from(hkdfSync('sha256', secret, '', `cambist shared cache 1 ${purpose}`, KEY_BYTES));
  return {
    names: part('names'),
    sealing: part('sealing'),
    locks: part('locks'),
    handles: part('handles'),
  };
}

/** A keyed digest of an entry. Without the key it reveals nothing, not even to a reader who knows the token. */
export function nameOf(key: StoreKey, purpose: string, value: string): string {
  return createHmac('sha256', key.names)
    .update(JSON.stringify([purpose, value]))
    .digest('base64url');
}

/** The purpose of a sealed value, and everything that it belongs to. It opens for exactly the same. */
export type Context = readonly [purpose: string, ...parts: string[]];

/** Longest sealed value that is read, in characters. An issued token has at most 32 KiB. */
export const MAX_SEALED_LENGTH = 64 * 1024;

const VERSION = 1;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + SALT_BYTES + NONCE_BYTES;

/**
 * Seals a text with AES-256-GCM. Its key comes by HKDF from `secret`, from the shared key, and from a random salt, so that each
 * value has a key of its own and no nonce can repeat.
 * @param secret the caller's token, or our client's credential. Undefined: the shared key alone
 */
export function seal(text: string, secret: Secret | undefined, key: StoreKey, context: Context): string {
  const header = Buffer.concat([Buffer.of(VERSION), randomBytes(SALT_BYTES + NONCE_BYTES)]);
  const cipher = createCipheriv('aes-256-gcm', sealingKey(secret, key, header), nonceOf(header));
  cipher.setAAD(boundTo(context, header));
  const sealed = Buffer.concat([header, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return sealed.toString('base64url');
}

/** Opens a sealed text. Undefined if it was altered, or belongs to another context or key. */
export function open(sealed: unknown, secret: Secret | undefined, key: StoreKey, context: Context): string | undefined {
  if (typeof sealed !== 'string' || sealed.length > MAX_SEALED_LENGTH) return undefined;
  const bytes = Buffer.from(sealed, 'base64url');
  // Base64 has several spellings of the same bytes, and only one was written.
  if (bytes.length < HEADER_BYTES + TAG_BYTES || bytes[0] !== VERSION || bytes.toString('base64url') !== sealed) {
    return undefined;
  }
  const header = bytes.subarray(0, HEADER_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', sealingKey(secret, key, header), nonceOf(header), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(boundTo(context, header));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(HEADER_BYTES, -TAG_BYTES)), decipher.final()]).toString(
      'utf8',
    );
  } catch {
    return undefined;
  }
}

/** Opens a text that was sealed without a secret, under one of the keys. */
export function openWith(keys: readonly StoreKey[], sealed: unknown, context: Context) {
  for (const key of keys) {
    const text = open(sealed, undefined, key, context);
    if (text !== undefined) return { key, content: parseJsonObject(text) ?? {} };
  }
  return undefined;
}

/** @see RFC 5869 */
function sealingKey(secret: Secret | undefined, key: StoreKey, header: Buffer): Buffer {
  const salt = Buffer.concat([key.sealing, header.subarray(1, 1 + SALT_BYTES)]);
  const from = secret === undefined ? 'key' : 'secret';
  return Buffer.from(hkdfSync('sha256', secret?.reveal() ?? '', salt, `cambist sealed ${from}`, KEY_BYTES));
}

function nonceOf(header: Buffer): Buffer {
  return header.subarray(1 + SALT_BYTES);
}

/** JSON is unambiguous: different contexts never have the same text. */
function boundTo(context: Context, header: Buffer): Buffer {
  return Buffer.concat([header, Buffer.from(JSON.stringify(context))]);
}
