import { createHash, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';

/** One request, as a proof names it. */
export interface ProvenRequest {
  readonly method: string;
  /** Query and fragment are no part of a proof. */
  readonly url: string;
  /** Who hands out nonces for it: each authorization server and each upstream has its own. */
  readonly nonceFrom: string;
  /** The token that the request bears, which the proof is then bound to. */
  readonly accessToken?: string;
}

/**
 * Proof of possession with one key, which lives as long as the process, and the newest nonce of each server.
 * @see RFC 9449
 */
export interface DpopProver {
  /** A proof for one request; it is good once. */
  prove(request: ProvenRequest): Promise<string>;
  /** Remembers the `DPoP-Nonce` of an answer, which replaces the one before. @returns whether there was a usable one */
  learn(nonceFrom: string, nonce: string | undefined): boolean;
}

/** Servers whose nonces are remembered; one that was forgotten asks again. */
const MAX_NONCES = 1000;
/** RFC 9449 section 8.1; the length is ours. */
const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,1024}$/;

export function createDpopProver(clock: Clock): DpopProver {
  let pair: { privateKey: KeyObject; jwk: { kty: string; crv: string; x: string; y: string } } | undefined;
  const nonces = new LRUCache<string, string>({ max: MAX_NONCES });

  /** Made at the first use: most configs need none. */
  function key(): NonNullable<typeof pair> {
    if (pair === undefined) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
      pair = { privateKey, jwk: { kty: 'EC', crv: 'P-256', x, y } };
    }
    return pair;
  }

  return {
    async prove({ method, url, nonceFrom, accessToken }) {
      // Loaded at the first use, as the key is made then.
      const { SignJWT } = await import('jose/jwt/sign');
      const { privateKey, jwk } = key();
      const nonce = nonces.get(nonceFrom);
      return new SignJWT({
        htm: method,
        htu: url.replace(/[?#].*$/s, ''),
        ...(accessToken !== undefined && { ath: createHash('sha256').update(accessToken).digest('base64url') }),
        ...(nonce !== undefined && { nonce }),
      })
        .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
        .setJti(randomUUID())
        .setIssuedAt(Math.floor(clock.wallMs() / 1000))
        .sign(privateKey);
    },
    learn(nonceFrom, nonce) {
      if (nonce === undefined || !NONCE.test(nonce)) return false;
      nonces.set(nonceFrom, nonce);
      return true;
    },
  };
}
