import type { JWTPayload } from 'jose';
import type { AuthorizationServer } from '../config/config.ts';
import type { Finding } from './finding.ts';
import type { Observation, Refusal } from './observation.ts';

/** An exchange that a server refused: what was asked, with what, and what it said. */
export interface RefusedExchange {
  readonly server: AuthorizationServer;
  readonly answer: Observation;
  readonly refusal: Refusal;
  /** Claims of the subject token; undefined where it is opaque, or there was none. */
  readonly subject: JWTPayload | undefined;
  /** Is it the second leg of a chain, whose assertion the first had just given? */
  readonly secondLeg: boolean;
}

/** A cause that can be told from an answer; of several the first that fits is it. */
export type Cause = (refused: RefusedExchange) => Finding | undefined;

/** Entra numbers what it refuses; by its address alone it is known before it has said anything. */
export function isEntra({ server, refusal }: RefusedExchange): boolean {
  return (
    /AADSTS\d/.test(refusal.description) ||
    /login\.microsoftonline\.|sts\.windows\.net/.test(server.issuer ?? server.tokenEndpoint ?? '')
  );
}
