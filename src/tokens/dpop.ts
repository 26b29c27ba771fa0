import { createHash, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';

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
