import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';

/**
 * Accepts only tokens for this audience. Verifies signature, issuer, expiry and audience.
 * @returns a function that returns the claims of the bearer token; undefined if it was invalid, and the response is sent
 */
export function createBearerGate({ issuer, jwksUri, audience }: { issuer: string; jwksUri: string; audience: string }) {
  // A busy machine takes more than the five seconds of the default.
  const keys = createRemoteJWKSet(new URL(jwksUri), { timeoutDuration: 60_000 });
  return async (request: IncomingMessage, response: ServerResponse): Promise<JWTPayload | undefined> => {
    const [value = '', ...others] = request.headersDistinct.authorization ?? [];
    const token = others.length > 0 ? undefined : /^Bearer ([^\s]+)$/i.exec(value)?.[1];
    const claims = await jwtVerify(token ?? '', keys, { issuer, audience, requiredClaims: ['exp', 'sub'] }).then(
      ({ payload }) => payload,
      () => undefined,
    );
    if (claims === undefined) {
      response.writeHead(401, {
        'content-type': 'application/json',
        'www-authenticate': 'Bearer error="invalid_token"',
      });
      response.end('{"error":"invalid_token"}');
      return undefined;
    }
    return claims;
  };
}
