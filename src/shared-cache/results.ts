import * as z from 'zod';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { CambistError } from '../errors.ts';
import { type CredentialSource, readCredential } from '../secrets/credential.ts';
import type { Secret } from '../secrets/secret.ts';
import type { LifetimeSettings } from '../tokens/accept-token.ts';
import { readConsentUrl } from '../tokens/interaction.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { CACHED_ERRORS, isCachedError, refusalLifetimeMs } from '../tokens/refusals.ts';
import {
  CLOCK_SKEW_MS,
  type PortableToken,
  restoreToken,
  type SharedEntry,
  type SharedToken,
  toPortable,
} from '../tokens/shared-token.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { type Context, MAX_SEALED_LENGTH, nameOf, open, type StoreKey, type StoreKeyList, seal } from './seal.ts';

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

/** `entry.key` contains the digests of the caller's token and of everything that shapes the issued token. */
function tokenContext(tag: string, place: Place, entry: SharedEntry): Context {
  return ['token', place.token, entry.key, tag];
}

function refusalContext({ refusal }: Place, { group }: SharedEntry): Context {
  return ['refusal', refusal, group];
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

/** The result of an exchange as a value of the store, and where it goes. */
export interface SealedResult {
  readonly name: string;
  readonly value: string;
  readonly lifetimeMs: number;
}

/** Seals a token, if other replicas can use it for long enough. */
export function sealedToken(
  { token, added }: SharedToken,
  places: Places,
  settings: LifetimeSettings,
): SealedResult | undefined {
  const place = places.first;
  const portable = toPortable(token, settings);
  const lifetimeMs = Math.floor(token.lifetime.reusableUntilMs - settings.clock.monotonicMs());
  if (portable === undefined || lifetimeMs < 1) return undefined;
  const value = sealToken(portable, added, place, places);
  return value.length > MAX_SEALED_LENGTH ? undefined : { name: place.token, value, lifetimeMs };
}

/** Seals a token behind its tag, with its scopes beside the route's own. */
export function sealToken(
  portable: PortableToken,
  added: readonly string[],
  place: Place,
  { secret, entry }: Places,
): string {
  const tag = tagOf(portable.token, place);
  return tag + seal(JSON.stringify({ ...portable, added }), secret, place.key, tokenContext(tag, place, entry));
}

/** Seals a refusal that concerns the caller alone. */
export function sealedRefusal(error: unknown, places: Places, clock: Clock): SealedResult | undefined {
  const { entry, secret, first } = places;
  if (!isCachedError(error) || entry.subject === undefined) return undefined;
  const value = seal(writeRefusal(error, clock.wallMs()), secret, first.key, refusalContext(first, entry));
  return { name: first.refusal, value, lifetimeMs: refusalLifetimeMs(error) };
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
  places: Places,
  replaced: IssuedToken | undefined,
  rules: UsableRules,
): SharedToken | undefined {
  const { entry, secret } = places;
  const tag = value.slice(0, TAG_LENGTH);
  const read = readToken(open(value.slice(TAG_LENGTH), secret, place.key, tokenContext(tag, place, entry)) ?? '');
  if (read === undefined || rules.isRefused(read.token)) return undefined;
  const { added } = read;
  if (!added.every((scope) => entry.route.stepUp.includes(scope))) return undefined;
  if (!entry.added.every((scope) => added.includes(scope))) return undefined;
  try {
    const token = restoreToken(read, entry, rules);
    // A token that is due for a refresh itself replaces nothing.
    const isDue = replaced !== undefined && token.lifetime.refreshAtMs <= rules.clock.monotonicMs();
    return isDue ? undefined : { token, added };
  } catch {
    return undefined;
  }
}

/** The refusal of the store. Undefined for one that is over, or was not sealed for this entry. */
export function usableRefusal(value: string, { entry, secret, first }: Places, clock: Clock): CambistError | undefined {
  const text = open(value, secret, first.key, refusalContext(first, entry));
  return text === undefined ? undefined : readRefusal(text, entry, clock.wallMs());
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

/** A refusal as text. Its message stays here, because the log of this replica has it. */
export function writeRefusal(error: CambistError, atMs: number): string {
  const { code, claims, authentication, consentUrl, expired, oauthError } = error;
  return JSON.stringify({ code, claims, authentication, consentUrl: consentUrl?.(), expired, oauthError, atMs });
}

/** Members of another type count as missing. */
const storedRefusal = z.object({
  code: z.enum([...CACHED_ERRORS]),
  claims: z.string().optional().catch(undefined),
  authentication: z.object({ acrValues: z.string(), maxAge: z.number() }).partial().optional().catch(undefined),
  consentUrl: z.string().optional().catch(undefined),
  expired: z.boolean().catch(false),
  oauthError: z.string().optional().catch(undefined),
  atMs: time,
});

/** The opposite of `writeRefusal`. Undefined for any other text, and for a refusal that is over. */
export function readRefusal(text: string, { route }: SharedEntry, wallMs: number): CambistError | undefined {
  const { data } = storedRefusal.safeParse(parseJsonObject(text));
  if (data === undefined) return undefined;
  const { code, atMs, consentUrl, ...options } = data;
  const url = consentUrl && allowedUrl(consentUrl, route.consent);
  const error = new CambistError(
    code,
    `route "${route.name}": another replica got this refusal a moment ago, and logged its reason`,
    { ...options, consentUrl: url ? () => url : undefined },
  );
  const isCurrent = atMs <= wallMs + CLOCK_SKEW_MS && wallMs < atMs + refusalLifetimeMs(error);
  return isCurrent ? error : undefined;
}

/** The config of this replica decides which URLs a caller may get. */
function allowedUrl(url: string, rules: SharedEntry['route']['consent']): string | undefined {
  if (rules === undefined) return undefined;
  if (url === rules.url) return url;
  const read = readConsentUrl(url, rules.hosts, []);
  return 'url' in read ? read.url : undefined;
}
