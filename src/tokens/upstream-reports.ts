import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import type { TokenCache } from './cache.ts';
import type { Flights } from './flights.ts';
import { type IssuedToken, isSameToken } from './issued-token.ts';
import { hasOwnSubject, keptTokenKey, ownerOf, requestFor, type Session } from './session.ts';
import type { SecondLevel } from './shared-token.ts';

/**
 * Minimum time between two reports of an upstream that take a token from the same key. An upstream that responds with 401 or 404,
 * or opens a session, each time would otherwise cost an exchange each time.
 */
const UPSTREAM_COOLDOWN_MS = 10_000;

/** Applies to the cache what upstreams report: that a token is refused, or that a session begins or is over. */
export function createUpstreamReports(
  cache: TokenCache,
  flights: Flights,
  clock: Clock,
  second: SecondLevel | undefined,
) {
  const refused = new WeakSet<IssuedToken>();
  const mayDrop = createCooldown(UPSTREAM_COOLDOWN_MS, clock);
  const mayOpen = createCooldown(UPSTREAM_COOLDOWN_MS, clock);
  const mayEnd = createCooldown(UPSTREAM_COOLDOWN_MS, clock);

  function endAt(key: string): void {
    cache.drop(key, 'session_ended');
    flights.keepNone((other) => other === key);
  }

  second?.onSessionEnded(endAt);

  return {
    /**
     * Drops a token that a backend refused with 401, so that the next lookup does not return it again.
     * @returns false when the token replaced another refused token a moment ago. It then stays in the cache, and a new exchange
     *   would be useless.
     */
    dropRefused(route: Route, session: Session, token: IssuedToken): boolean {
      const request = requestFor(route, session);
      const cached = request && cache.find(request.key)?.token;
      if (request !== undefined && cached !== undefined && isSameToken(cached, token)) {
        if (!mayDrop(request.key)) return false;
        cache.drop(request.key, 'refused', cached);
      }
      refused.add(token);
      if (request !== undefined) second?.dropRefused(request, token);
      return true;
    },
    /**
     * Reports that a request without a session id opened a session, which takes over the request's token. During the cooldown the
     * token also stays available to requests without a session id, because each of them may open a session.
     */
    openSession(route: Route, session: Session, id: string, token: IssuedToken): void {
      const request = requestFor(route, session);
      if (request?.session.subject === undefined || hasOwnSubject(route) || refused.has(token)) return;
      if (cache.find(request.key)?.token === token && mayOpen(request.key)) {
        cache.release(request.key, token);
        second?.release(request, token);
      }
      const key = keptTokenKey({ subject: request.session.subject, id }, request.resource);
      cache.give(key, token, ownerOf(request));
      second?.give({ ...request, key, added: flights.addedTo(token) }, token);
    },
    /**
     * Reports that a session is over. Tokens that only this session used are dropped.
     * @param by the client, or the upstream, whose reports have a cooldown because it may repeat them for every request
     */
    endSession(route: Route, session: Session, by: 'client' | 'upstream'): void {
      const request = requestFor(route, session);
      if (request?.session.id === undefined) return;
      if (!flights.hasFor(request.key) && cache.find(request.key) === undefined) return;
      if (by === 'upstream' && !mayEnd(request.key)) return;
      endAt(request.key);
      second?.endSession(request);
    },
  };
}

/** Keys that are remembered at a time. A flood of keys only makes the oldest cooldowns end early. */
const MAX_KEYS = 10_000;

/** @returns a function that admits an event for a key, and no other event for that key until its cooldown ends */
export function createCooldown(cooldownMs: number, clock: Clock): (key: string) => boolean {
  // With `max`, the library reserves room for all entries at once.
  const cooling = new LRUCache<string, number>({ maxSize: MAX_KEYS, sizeCalculation: () => 1 });

  return (key) => {
    const nowMs = clock.monotonicMs();
    if (nowMs < (cooling.peek(key) ?? Number.NEGATIVE_INFINITY)) return false;
    cooling.set(key, nowMs + cooldownMs);
    return true;
  };
}
