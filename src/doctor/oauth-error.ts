import type { JWTPayload } from 'jose';
import type { AuthorizationServer } from '../config/config.ts';
import type { Finding } from './finding.ts';
import type { OAuthError, RecordedRequest } from './recorded-request.ts';

/** An exchange that a server refused: what was asked, with what, and what it said. */
export interface FailedExchange {
  readonly server: AuthorizationServer;
  readonly answer: RecordedRequest;
  readonly refusal: OAuthError;
  /** Claims of the subject token; undefined where it is opaque, or there was none. */
  readonly subject: JWTPayload | undefined;
  /** Is it the second leg of a chain, whose assertion the first had just given? */
  readonly secondLeg: boolean;
}

/** A cause that can be told from an answer; of several the first that fits is it. */
export type Cause = (refused: FailedExchange) => Finding | undefined;

/** Entra numbers what it refuses; by its address alone it is known before it has said anything. */
export function isEntra({ server, refusal }: FailedExchange): boolean {
  return (
    /AADSTS\d/.test(refusal.description) ||
    /login\.microsoftonline\.|sts\.windows\.net/.test(server.issuer ?? server.tokenEndpoint ?? '')
  );
}
