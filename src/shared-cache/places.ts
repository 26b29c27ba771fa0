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

/** Undefined for a value that was altered, or that belongs to another place, caller or route. */
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
