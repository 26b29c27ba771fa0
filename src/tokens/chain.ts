import type { Chain, TokenTarget } from '../config/route.ts';
import { TOKEN_TYPE_PREFIX } from '../config/units.ts';
import type { Secret } from '../secrets/secret.ts';
import type { TokenCache } from './cache.ts';
import type { HasLifetime } from './lifetime.ts';

/** The result of a chain's first leg. The second leg exchanges it for a token. It never reaches a backend. */
export interface Assertion extends HasLifetime {
  readonly assertion: Secret;
  /** Digests of the values that the first leg sent. The second server's token must repeat none of them. */
  readonly sent: ReadonlySet<string>;
}

/**
 * The target of a chain's first leg: an assertion for the second server, about the resource of the route.
 * @param target the route's
 * @see draft-ietf-oauth-identity-assertion-authz-grant section 4.3, draft-ietf-oauth-identity-chaining section 2.3
 */
export function firstLegTarget(chain: Chain, target: TokenTarget): TokenTarget {
  const isIdJag = chain.assertion === 'id_jag';
  return {
    resource: isIdJag ? target.resource : [],
    audience: [chain.audience],
    scope: target.scope,
    requestedTokenType: `${TOKEN_TYPE_PREFIX}${isIdJag ? 'id-jag' : 'jwt'}`,
    expectAudience: chain.expectAudience,
  };
}

/** The assertions of chains. Each is reused while it is valid, and concurrent callers share one request. */
export type Assertions = ReturnType<typeof createAssertions>;

export function createAssertions(cache: TokenCache<Assertion>) {
  const inFlight = new Map<string, Promise<Assertion>>();

  return {
    /**
     * @param request gets a new assertion
     * @returns the assertion, and whether it was cached
     */
    async obtain(
      key: string,
      route: string,
      request: () => Promise<Assertion>,
    ): Promise<{ assertion: Assertion; reused: boolean }> {
      const cached = cache.find(key);
      if (cached !== undefined) return { assertion: cached.token, reused: true };
      let pending = inFlight.get(key);
      if (pending === undefined) {
        pending = request()
          .then((assertion) => {
            cache.keep(key, assertion, { route, subject: undefined });
            return assertion;
          })
          .finally(() => inFlight.delete(key));
        inFlight.set(key, pending);
      }
      return { assertion: await pending, reused: false };
    },
    /** Drops the assertion of a key that a server refused; with `assertion`, unless another has replaced it. */
    drop: (key: string, assertion?: Assertion): void => cache.drop(key, 'refused', assertion),
  };
}
