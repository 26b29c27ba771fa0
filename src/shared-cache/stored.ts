import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import { readConsentUrl } from '../tokens/interaction.ts';
import { CACHED_ERRORS, refusalLifetimeMs } from '../tokens/refusals.ts';
import { CLOCK_SKEW_MS, type PortableToken, type SharedEntry } from '../tokens/shared-token.ts';
import { type JsonObject, parseJsonObject } from '../tokens/token-text.ts';

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
