import type { SendTo } from '../config/route-keys.ts';
import { Secret } from '../secrets/secret.ts';
import type { AcceptedToken } from './accept-token.ts';
import type { Granted } from './audience.ts';
import type { DpopProver } from './dpop.ts';
import type { HasLifetime } from './lifetime.ts';
import { bareToken } from './token-text.ts';

/** A token for exactly one backend. */
export interface IssuedToken extends HasLifetime {
  /** The whole `Authorization` value for the backend. */
  readonly authorization: Secret;
  readonly granted: Granted;
  /** Present when the token is bound to our key: each request with it then needs a proof. */
  readonly dpop?: DpopBinding;
}

/**
 * Proves possession of the key that a token is bound to.
 * @see RFC 9449 section 7.1
 */
interface DpopBinding {
  /** @param path with or without query; @returns the value of the `DPoP` header */
  prove(method: string, origin: string, path: string): Promise<string>;
  /** Keeps the `DPoP-Nonce` of a response for the next proof. @returns whether there was a usable nonce */
  learn(origin: string, nonce: string | undefined): boolean;
}

/** The value of the header that the route's `send` names. */
export function valueFor({ scheme }: SendTo, { authorization }: IssuedToken): string {
  const bare = bareToken(authorization.reveal());
  return scheme === '' ? bare : `${scheme} ${bare}`;
}

/** The second level of the cache may return a token that this process knows already, as another object. */
export function isSameToken(one: IssuedToken, other: IssuedToken): boolean {
  return one === other || one.authorization.reveal() === other.authorization.reveal();
}

/** Turns an accepted token into the credential for the backend. */
export function toIssuedToken(
  { accessToken, tokenType, lifetime, granted }: AcceptedToken,
  prover: DpopProver,
): IssuedToken {
  if (tokenType !== 'DPoP') return { authorization: new Secret(`Bearer ${accessToken}`), granted, lifetime };
  return { authorization: new Secret(`DPoP ${accessToken}`), granted, lifetime, dpop: bindToken(accessToken, prover) };
}

function bindToken(accessToken: string, prover: DpopProver): DpopBinding {
  const nonceFrom = (origin: string) => `upstream ${origin}`;
  const token = new Secret(accessToken);
  return {
    prove: (method, origin, path) =>
      prover.prove({ method, url: origin + path, nonceFrom: nonceFrom(origin), accessToken: token.reveal() }),
    learn: (origin, nonce) => prover.learn(nonceFrom(origin), nonce),
  };
}
