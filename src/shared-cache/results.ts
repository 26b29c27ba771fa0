import * as z from 'zod';
import type { LifetimeSettings } from '../tokens/accept-token.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { KeyedRequest } from '../tokens/session.ts';
import { type PortableToken, restoreToken, type SharedToken, toPortable } from '../tokens/shared-token.ts';
import type { Subject } from '../tokens/subject.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { type Context, MAX_SEALED_LENGTH, nameOf, open, type StoreKey, seal } from './seal.ts';

/** The names of a token and of its lock under one key. Both are in one slot of a cluster. */
export interface Place {
  readonly request: KeyedRequest;
  /** Tokens for cambist itself are not shared. */
  readonly subject: Subject;
  readonly key: StoreKey;
  readonly token: string;
  readonly lock: string;
}

/** Characters of a tag: 128 bits in base64url. */
const TAG_LENGTH = 22;

export function placeOf(request: KeyedRequest, subject: Subject, key: StoreKey, prefix: string): Place {
  const slot = `${prefix}:{${nameOf(key, 'token', request.key)}}`;
  const lock = `${slot}:l:${nameOf(key, 'lock', JSON.stringify(request.added))}`;
  return { request, subject, key, token: `${slot}:t`, lock };
}

/** Recognizes a token without opening its value. */
export function tagOf(token: string, { key }: Place): string {
  return nameOf(key, 'tag', token).slice(0, TAG_LENGTH);
}

/** The key of a request contains the digests of the caller's token and of everything that shapes the issued token. */
function contextOf(tag: string, { token, request }: Place): Context {
  return ['token', token, request.key, tag];
}

/** An issued token as a value of the store. */
export interface SealedToken {
  readonly value: string;
  readonly lifetimeMs: number;
}

/** Seals a token under the caller's token, if other replicas can use it for long enough. */
export function sealedToken(token: IssuedToken, place: Place, settings: LifetimeSettings): SealedToken | undefined {
  const portable = toPortable(token, settings);
  const lifetimeMs = Math.floor(token.lifetime.reusableUntilMs - settings.clock.monotonicMs());
  if (portable === undefined || lifetimeMs < 1) return undefined;
  const value = sealToken(portable, place.request.added, place);
  return value.length > MAX_SEALED_LENGTH ? undefined : { value, lifetimeMs };
}

/** Seals a token behind its tag, with its scopes beside the route's own. */
export function sealToken(portable: PortableToken, added: readonly string[], place: Place): string {
  const tag = tagOf(portable.token, place);
  return tag + seal(JSON.stringify({ ...portable, added }), place.subject.token, place.key, contextOf(tag, place));
}

export interface UsableRules extends LifetimeSettings {
  /** Was this token refused here, so that the store must not bring it back? */
  readonly isRefused: (token: string) => boolean;
}

/**
 * Checks a token of the store like one that was just issued.
 * @param replaced the token that it is to replace, if any
 */
export function usableToken(
  value: string,
  place: Place,
  replaced: IssuedToken | undefined,
  rules: UsableRules,
): SharedToken | undefined {
  const { request, subject, key } = place;
  const tag = value.slice(0, TAG_LENGTH);
  const text = open(value.slice(TAG_LENGTH), subject.token, key, contextOf(tag, place));
  const read = readToken(text ?? '');
  if (read === undefined || rules.isRefused(read.token)) return undefined;
  const { added } = read;
  if (!added.every((scope) => request.route.stepUp.includes(scope))) return undefined;
  if (!request.added.every((scope) => added.includes(scope))) return undefined;
  try {
    const token = restoreToken(read, request, subject, rules);
    // A token that is due for a refresh itself replaces nothing.
    const isDue = replaced !== undefined && token.lifetime.refreshAtMs <= rules.clock.monotonicMs();
    return isDue ? undefined : { token, added, isShared: true };
  } catch {
    return undefined;
  }
}

/** Epoch milliseconds. */
const time = z.int().min(0);

const storedToken = z.object({
  token: z.string(),
  scope: z.string().optional(),
  sentAtMs: time,
  reusableUntilMs: time,
  expiresAtMs: time.optional(),
  added: z.array(z.string()),
});

/** The content of a sealed token. Undefined for any other text. */
export function readToken(text: string) {
  return storedToken.safeParse(parseJsonObject(text)).data;
}
