import type { Chain, TokenTarget } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { Secret } from '../secrets/secret.ts';
import { isFor } from './audience.ts';
import type { TokenCache } from './cache.ts';
import type { Claims } from './claims.ts';
import type { Perishable } from './issued.ts';

/** What the first leg of a chain gives, and the second trades for a token. No backend ever sees it. */
export interface Assertion extends Perishable {
  readonly assertion: Secret;
  /** Digests of what the first leg sent: the second server's token must repeat none of it. */
  readonly sent: ReadonlySet<string>;
}

const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';

/**
 * What the first leg asks for: an assertion for the second server, about the resource that the route is for.
 * @param target that of the route
 * @see draft-ietf-oauth-identity-assertion-authz-grant section 4.3, draft-ietf-oauth-identity-chaining section 2.3
 */
export function firstLegTarget(chain: Chain, target: TokenTarget): TokenTarget {
  const isIdJag = chain.assertion === 'id_jag';
  return {
    resource: isIdJag ? target.resource : [],
    audience: [chain.audience],
    scope: target.scope,
    requestedTokenType: `${TOKEN_TYPE}${isIdJag ? 'id-jag' : 'jwt'}`,
    expectAudience: chain.expectAudience,
  };
}

/**
 * Holds an assertion to the server that it is to be shown to; one that is opaque to us passes.
 * @throws {CambistError} ERR_ISSUED_TOKEN_AUDIENCE
 */
export function checkAssertion(claims: Claims, expected: TokenTarget['expectAudience'], routeName: string): void {
  if (isFor(claims, expected)) return;
  throw new CambistError(
    'ERR_ISSUED_TOKEN_AUDIENCE',
    `route "${routeName}": the assertion of its chain is for another server: its "aud" has none of ${JSON.stringify(expected)}: ` +
      'see what the first authorization server knows the second one by',
  );
}

/** The assertions of chains: each is reused while it is good, and asked for once, however many wait for it. */
export interface Assertions {
  /** @param ask makes a new one; @returns with `reused`, whether it had been kept from before */
  obtain(key: string, route: string, ask: () => Promise<Assertion>): Promise<{ assertion: Assertion; reused: boolean }>;
  /** Drops one that the second server refused, where it is still the one that is kept. */
  drop(key: string, assertion: Assertion): void;
}

export function createAssertions(cache: TokenCache<Assertion>): Assertions {
  const underWay = new Map<string, Promise<Assertion>>();

  return {
    async obtain(key, route, ask) {
      const cached = cache.find(key);
      if (cached !== undefined) return { assertion: cached.token, reused: true };
      let asking = underWay.get(key);
      if (asking === undefined) {
        asking = ask()
          .then((assertion) => {
            cache.keep(key, assertion, { route, subject: undefined });
            return assertion;
          })
          .finally(() => underWay.delete(key));
        underWay.set(key, asking);
      }
      return { assertion: await asking, reused: false };
    },
    drop: (key, assertion) => cache.drop(key, 'refused', assertion),
  };
}
