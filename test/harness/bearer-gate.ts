import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';

export interface BearerGateOptions {
  issuer: string;
  jwksUri: string;
  /** The audience that tokens must have. */
  audience: string;
}

/** @returns the claims of the bearer token; undefined if it was invalid or refused, and the response is sent */
export type BearerGate = (
  request: IncomingMessage,
  response: ServerResponse,
  isRefused?: (claims: JWTPayload) => boolean,
) => Promise<JWTPayload | undefined>;

/** Accepts only tokens for this server. Verifies signature, issuer, expiry and audience. */
export function createBearerGate({ issuer, jwksUri, audience }: BearerGateOptions): BearerGate {
  const keys = createRemoteJWKSet(new URL(jwksUri));
  return async (request, response, isRefused = () => false) => {
    const [value = '', ...others] = request.headersDistinct.authorization ?? [];
    const token = others.length > 0 ? undefined : /^Bearer ([^\s]+)$/i.exec(value)?.[1];
    const claims = await jwtVerify(token ?? '', keys, { issuer, audience, requiredClaims: ['exp', 'sub'] }).then(
      ({ payload }) => payload,
      () => undefined,
    );
    if (claims === undefined || isRefused(claims)) {
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
