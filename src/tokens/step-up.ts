import type { Route } from '../config/route.ts';
import type { Cause } from '../observability/token-observer.ts';
import type { TokenCache } from './cache.ts';
import type { Flights } from './flights.ts';
import type { IssuedToken } from './issued-token.ts';
import { flightKey, hasOwnSubject, requestFor, type Session, subjectKey, withAddedScopes } from './session.ts';

export interface SteppedUp {
  readonly token: IssuedToken;
  readonly added: readonly string[];
}

/**
 * @returns a function that obtains a token with scopes that a backend wants and another token lacks. It replaces the session's token.
 *   All requests that wait for the same scopes share one exchange. The function returns undefined when the route may not add them, when
 *   the token has them all, and when they were refused a moment ago
 */
export function createStepUp(cache: TokenCache, flights: Flights) {
  return (
    route: Route,
    session: Session,
    token: IssuedToken,
    wanted: readonly string[],
    cause?: () => Cause,
  ): Promise<SteppedUp> | undefined => {
    const plain = requestFor(route, session, cause);
    if (plain?.session.subject === undefined || hasOwnSubject(route)) return undefined;
    const cached = cache.find(plain.key)?.token;
    const present = flights.addedTo(token);
    const added = scopesToAdd(route, present, wanted);
    if (added === undefined) return undefined;
    const presentInCache = cached === undefined ? present : flights.addedTo(cached);
    // Another request of the session may have been first.
    if (cached !== undefined && cached !== token && added.every((scope) => presentInCache.includes(scope))) {
      return Promise.resolve({ token: cached, added });
    }
    const request = withAddedScopes(plain, [...new Set([...present, ...presentInCache, ...added])].sort());
    if (cache.refusals.find(subjectKey(plain.session.subject, request.resource)) !== undefined) return undefined;
    const pending = flights.find(flightKey(request))?.pending ?? flights.start(request).pending;
    return pending.then((wider) => ({ token: wider, added }));
  };
}

/**
 * The requested scopes that a token lacks, when the route may add all of them.
 * @param present scopes that were added to the token before
 * @param wanted scopes that the upstream requires
 * @returns undefined when the route may not add one of them, or the token has them all
 */
function scopesToAdd(
  { stepUp, credential }: Route,
  present: readonly string[],
  wanted: readonly string[],
): readonly string[] | undefined {
  if (credential.kind !== 'exchange') return undefined;
  const known = new Set([...(credential.target.scope?.split(' ') ?? []), ...present]);
  const missing = wanted.filter((scope) => !known.has(scope));
  return missing.length > 0 && missing.every((scope) => stepUp.includes(scope)) ? missing : undefined;
}
