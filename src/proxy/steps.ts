import type { Duplex } from 'node:stream';
import type { Route } from '../config/route.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { Session } from '../tokens/session.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestBody } from './request-body.ts';

export interface Received {
  readonly request: ProxyRequest;
  readonly target: RequestTarget;
}

export interface Routed extends Received {
  readonly route: Route;
  readonly path: string;
  /** The whole body, where the route depended on the message in it. */
  readonly wholeBody: Buffer | undefined;
  /** The credential of a handshake or a list without a caller. Undefined: all other requests. */
  readonly unattended?: Route['unattended'];
}

export interface Prepared extends Routed {
  readonly session: Session;
  readonly body: RequestBody;
  /** Names and values in turn, without the issued token. */
  readonly headers: readonly string[];
  /** The token of the first attempt. Undefined on a route that needs none. */
  readonly token: IssuedToken | undefined;
}

export interface AttemptPlan {
  readonly prepared: Prepared;
  readonly token: IssuedToken | undefined;
  readonly content: RequestBody['content'];
  /** An earlier attempt reached the upstream. */
  readonly isRetry?: boolean;
  /** The first token was refused, or lacked scopes. A request gets at most two. */
  readonly hasSecondToken?: boolean;
  /** The DPoP proof carries the nonce that the upstream asked for. */
  readonly hasNonce?: boolean;
  /** The token of the previous attempt expired before the first byte was sent. */
  readonly replacesExpired?: boolean;
}

/**
 * Called once the upstream has switched protocols.
 * @param headers as the caller gets them
 * @returns false where this is not the protocol that the caller asked for
 */
export type Switched = (protocol: string | undefined, headers: readonly string[], upstream: Duplex) => boolean;
