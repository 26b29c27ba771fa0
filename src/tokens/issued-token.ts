import { createHash, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { SendTo } from '../config/route-keys.ts';
import { Secret } from '../secrets/secret.ts';
import type { AcceptedToken } from './accept-token.ts';
import type { Granted } from './audience.ts';
import type { HasLifetime } from './lifetime.ts';
import { bareToken } from './token-text.ts';

interface ProvenRequest {
  readonly method: string;
  /** A proof leaves out query and fragment. */
  readonly url: string;
  /** The server whose nonce the proof contains: each authorization server and each upstream has its own. */
  readonly nonceFrom: string;
  /** The token in the request. The proof is bound to it. */
  readonly accessToken?: string;
}

/** Servers whose nonces are kept. A server whose nonce is forgotten asks for one again. */
const MAX_NONCES = 1000;
/** RFC 9449 section 8.1; the length limit is our own. */
const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,1024}$/;

/**
 * Proves possession of one key, which lives as long as the process, and keeps the newest nonce of each server.
 * @see RFC 9449
 */
export type DpopProver = ReturnType<typeof createDpopProver>;

export function createDpopProver(clock: Clock) {
  let pair: { privateKey: KeyObject; jwk: { kty: string; crv: string; x: string; y: string } } | undefined;
  const nonces = new LRUCache<string, string>({ max: MAX_NONCES });

  /** Created at first use, because most configs need no key. */
  function key(): NonNullable<typeof pair> {
    if (pair === undefined) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
      pair = { privateKey, jwk: { kty: 'EC', crv: 'P-256', x, y } };
    }
    return pair;
  }

  return {
    /** Creates a proof for one request. A server accepts it once. */
    async prove({ method, url, nonceFrom, accessToken }: ProvenRequest): Promise<string> {
      // Loaded at first use, like the key.
      const { SignJWT } = await import('jose/jwt/sign');
      const { privateKey, jwk } = key();
      const nonce = nonces.get(nonceFrom);
      return new SignJWT({
        htm: method,
        htu: url.replace(/[?#].*/s, ''),
        ...(accessToken !== undefined && { ath: createHash('sha256').update(accessToken).digest('base64url') }),
        ...(nonce !== undefined && { nonce }),
      })
        .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
        .setJti(randomUUID())
        .setIssuedAt(Math.floor(clock.wallMs() / 1000))
        .sign(privateKey);
    },
    /** Keeps the `DPoP-Nonce` of a response in place of the previous nonce. @returns whether there was a usable nonce */
    learn(nonceFrom: string, nonce: string | undefined): boolean {
      if (nonce === undefined || !NONCE.test(nonce)) return false;
      nonces.set(nonceFrom, nonce);
      return true;
    },
  };
}

/** A token for exactly one backend. */
export interface IssuedToken extends HasLifetime {
  /** The whole `Authorization` value for the backend. */
  readonly authorization: Secret;
  readonly granted: Granted;
  /** Present when the token is bound to our key: each request with it then needs a proof. */
  readonly dpop?: ReturnType<typeof bindToken>;
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

/**
 * Proves possession of the key that a token is bound to.
 * @see RFC 9449 section 7.1
 */
function bindToken(accessToken: string, prover: DpopProver) {
  const nonceFrom = (origin: string) => `upstream ${origin}`;
  const token = new Secret(accessToken);
  return {
    /** @param path with or without query; @returns the value of the `DPoP` header */
    prove: (method: string, origin: string, path: string): Promise<string> =>
      prover.prove({ method, url: origin + path, nonceFrom: nonceFrom(origin), accessToken: token.reveal() }),
    /** Keeps the nonce of a response for the next proof. @returns whether there was a usable nonce */
    learn: (origin: string, nonce: string | undefined): boolean => prover.learn(nonceFrom(origin), nonce),
  };
}
