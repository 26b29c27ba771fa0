import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type CredentialSource, readCredential } from '../secrets/credential.ts';
import type { Secret } from '../secrets/secret.ts';
import type { SharedEntry } from '../tokens/shared-token.ts';
import { nameOf, type StoreKey, type StoreKeyList } from './keys.ts';
import { type Context, open, seal } from './seal.ts';

/** Where a token, its refusal and its lock are under one key. All three are in one slot of a cluster. */
export interface Place {
  readonly key: StoreKey;
  readonly token: string;
  readonly refusal: string;
  readonly lock: string;
}

/** The places of an entry under each key, and the secret that its values are sealed under. */
export interface Places {
  readonly entry: SharedEntry;
  readonly secret: Secret;
  readonly first: Place;
  readonly others: readonly Place[];
}

/** Characters of a tag: 128 bits in base64url. */
const TAG_LENGTH = 22;

export function placesOf(entry: SharedEntry, secret: Secret, [key, ...others]: StoreKeyList, prefix: string): Places {
  const at = (each: StoreKey): Place => placeOf(entry, each, prefix);
  return { entry, secret, first: at(key), others: others.map(at) };
}

function placeOf({ key: pair, group, added }: SharedEntry, key: StoreKey, prefix: string): Place {
  const slot = `${prefix}:{${nameOf(key, 'group', group)}}`;
  const withAdded = (text: string): string => JSON.stringify([text, ...added]);
  return {
    key,
    token: `${slot}:t:${nameOf(key, 'token', pair)}`,
    refusal: `${slot}:r:${nameOf(key, 'refusal', withAdded(group))}`,
    lock: `${slot}:l:${nameOf(key, 'lock', withAdded(pair))}`,
  };
}

/** Recognizes a token without opening its value. */
export function tagOf(token: string, { key }: Place): string {
  return nameOf(key, 'tag', token).slice(0, TAG_LENGTH);
}

/** Seals a token behind its tag. */
export function sealToken(text: string, tag: string, place: Place, { secret, entry }: Places): string {
  return tag + seal(text, secret, place.key, tokenContext(tag, place, entry));
}

/** Opens a value, unless it was altered or belongs to another place, caller or route. */
export function openToken(value: string, place: Place, { secret, entry }: Places): string | undefined {
  const tag = value.slice(0, TAG_LENGTH);
  return open(value.slice(TAG_LENGTH), secret, place.key, tokenContext(tag, place, entry));
}

export function sealRefusal(text: string, place: Place, { secret, entry }: Places): string {
  return seal(text, secret, place.key, ['refusal', place.refusal, entry.group]);
}

export function openRefusal(value: string, place: Place, { secret, entry }: Places): string | undefined {
  return open(value, secret, place.key, ['refusal', place.refusal, entry.group]);
}

/** `entry.key` contains the digests of the caller's token and of everything that shapes the issued token. */
function tokenContext(tag: string, place: Place, entry: SharedEntry): Context {
  return ['token', place.token, entry.key, tag];
}

/**
 * The secret that a token is sealed under, beside the shared key: the caller's token, or the credential that the token was
 * requested with.
 * @returns undefined where the client has no lasting credential. Such tokens are not shared
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 */
export async function sealingSecret({ subject, credential }: SharedEntry): Promise<Secret | undefined> {
  if (subject !== undefined) return subject.token;
  const server = credential.authorizationServer;
  const source = lastingCredential(server);
  return source && readCredential(source, `client credential of authorization server "${server.name}"`);
}

/** Assertions from files and from other servers are replaced within minutes or hours, and differ between replicas. */
export function lastingCredential({ clientAuth, tls }: AuthorizationServer): CredentialSource | undefined {
  switch (clientAuth.method) {
    case 'client_secret_basic':
    case 'client_secret_post':
    case 'client_secret_jwt':
      return clientAuth.clientSecret;
    case 'private_key_jwt':
      return clientAuth.privateKey;
    case 'tls_client_auth':
      return tls?.privateKey === undefined ? undefined : { file: tls.privateKey };
    case 'client_assertion':
    case 'none':
      return undefined;
  }
}
