import type { Clock } from '../clock/clock.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
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
import { type JsonObject, parseJsonObject } from '../tokens/token-text.ts';
import { openRefusal, openToken, type Place, type Places, sealRefusal, sealToken, tagOf } from './places.ts';
import { MAX_SEALED_LENGTH } from './seal.ts';

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
  const tag = tagOf(portable.token, place);
  const value = sealToken(writeToken(portable, added), tag, place, places);
  return value.length > MAX_SEALED_LENGTH ? undefined : { name: place.token, value, lifetimeMs };
}

/** Seals a refusal that concerns the caller alone. */
export function sealedRefusal(error: unknown, places: Places, clock: Clock): SealedResult | undefined {
  if (!isCachedError(error) || places.entry.subject === undefined) {
    return undefined;
  }
  const value = sealRefusal(writeRefusal(error, clock.wallMs()), places.first, places);
  return { name: places.first.refusal, value, lifetimeMs: refusalLifetimeMs(error) };
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
  const { entry } = places;
  const { portable, added } = readToken(openToken(value, place, places) ?? '') ?? {};
  if (portable === undefined || added === undefined || rules.isRefused(portable.token)) return undefined;
  if (!added.every((scope) => entry.route.stepUp.includes(scope))) return undefined;
  if (!entry.added.every((scope) => added.includes(scope))) return undefined;
  try {
    const token = restoreToken(portable, entry, rules);
    // A token that is due for a refresh itself replaces nothing.
    const isDue = replaced !== undefined && token.lifetime.refreshAtMs <= rules.clock.monotonicMs();
    return isDue ? undefined : { token, added };
  } catch {
    return undefined;
  }
}

/** The refusal of the store. Undefined for one that is over, or was not sealed for this entry. */
export function usableRefusal(value: string, places: Places, clock: Clock): CambistError | undefined {
  const text = openRefusal(value, places.first, places);
  return text === undefined ? undefined : readRefusal(text, places.entry, clock.wallMs());
}

/** A token as text, with the scopes beside the route's own. */
export function writeToken(token: PortableToken, added: readonly string[]): string {
  return JSON.stringify({ ...token, added });
}

/** The opposite of `writeToken`. Undefined for any other text. */
export function readToken(text: string): { readonly portable: PortableToken; readonly added: string[] } | undefined {
  const { token, scope, sentAtMs, reusableUntilMs, expiresAtMs, added } = parseJsonObject(text) ?? {};
  if (typeof token !== 'string' || !isTime(sentAtMs) || !isTime(reusableUntilMs)) return undefined;
  if (scope !== undefined && typeof scope !== 'string') return undefined;
  if (expiresAtMs !== undefined && !isTime(expiresAtMs)) return undefined;
  if (!Array.isArray(added) || !added.every((name) => typeof name === 'string')) return undefined;
  return { portable: { token, scope, sentAtMs, reusableUntilMs, expiresAtMs }, added };
}

/** A refusal as text. Its message stays here, because the log of this replica has it. */
export function writeRefusal(error: CambistError, atMs: number): string {
  const { code, claims, authentication, consentUrl, expired, oauthError } = error;
  return JSON.stringify({ code, claims, authentication, consentUrl: consentUrl?.(), expired, oauthError, atMs });
}

/** The opposite of `writeRefusal`. Undefined for any other text, and for a refusal that is over. */
export function readRefusal(text: string, { route }: SharedEntry, wallMs: number): CambistError | undefined {
  const { code, claims, authentication, consentUrl, expired, oauthError, atMs } = parseJsonObject(text) ?? {};
  if (!isCachedCode(code) || !isTime(atMs)) return undefined;
  const url = typeof consentUrl === 'string' ? allowedUrl(consentUrl, route.consent) : undefined;
  const error = new CambistError(
    code,
    `route "${route.name}": another replica got this refusal a moment ago, and logged its reason`,
    {
      ...(typeof claims === 'string' && { claims }),
      ...(isRequirements(authentication) && { authentication }),
      ...(url !== undefined && { consentUrl: () => url }),
      ...(expired === true && { expired }),
      ...(typeof oauthError === 'string' && { oauthError }),
    },
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

function isCachedCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && CACHED_ERRORS.has(code as ErrorCode);
}

function isRequirements(value: unknown): value is { acrValues?: string; maxAge?: number } {
  if (typeof value !== 'object' || value === null) return false;
  const { acrValues, maxAge } = value as JsonObject;
  return (
    (acrValues === undefined || typeof acrValues === 'string') && (maxAge === undefined || typeof maxAge === 'number')
  );
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
