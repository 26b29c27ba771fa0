import type { Clock } from '../clock/clock.ts';
import type { CambistError } from '../errors.ts';
import type { LifetimeSettings } from '../tokens/accept-token.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { isCachedError, refusalLifetimeMs } from '../tokens/refusals.ts';
import { restoreToken, type SharedToken, toPortable } from '../tokens/shared-token.ts';
import { openRefusal, openToken, type Place, type Places, sealRefusal, sealToken, tagOf } from './places.ts';
import { MAX_SEALED_LENGTH } from './seal.ts';
import { readRefusal, readToken, writeRefusal, writeToken } from './stored.ts';

/** The result of an exchange as a value of the store, and where it goes. */
export interface SealedResult {
  readonly name: string;
  readonly value: string;
  readonly lifetimeMs: number;
}

/** Undefined for a token that other replicas cannot use, or cannot use for long enough. */
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

/** Undefined for an error that does not concern the caller alone. */
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
