import * as z from 'zod';
import { valueKey } from './key.ts';

/**
 * JWS algorithms with a key pair (RFC 7518 section 3.1, RFC 8037, RFC 9864), for cambist's assertions and for verifying tokens.
 */
export const ASYMMETRIC_ALGORITHMS = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const),
];

/** JWS algorithms with the client secret as key. */
export const HMAC_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const;

/** One key of the file, of which each method takes its own algorithms. */
export function algorithm(known: readonly string[], of: string) {
  return valueKey(
    z.enum([...ASYMMETRIC_ALGORITHMS, ...HMAC_ALGORITHMS]),
    '`RS256` … `PS512`, `ES256` … `EdDSA`, `Ed25519`; with a secret `HS256` `HS384` `HS512`',
    'JWS algorithm of the assertion. By default, derived from the key.',
    { without: 'from the key; with a secret `HS256`' },
    (written: string, node) => {
      if (!known.includes(written)) node.error(`must be an algorithm for ${of}: one of ${known.join(', ')}`);
      return written;
    },
  );
}
