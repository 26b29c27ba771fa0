import { hash } from 'node:crypto';
import type { Route } from '../config/config.ts';
import type { Subject } from './subject.ts';

/** Who asks: a subject token, narrowed by the session id that the client sent. Neither is believed without the other. */
export interface Session {
  /** Undefined where the route's token is for cambist itself. */
  readonly subject: Subject | undefined;
  /** Value of `session.header`; undefined where the client sent none. */
  readonly id: string | undefined;
}

/** The part of a route that shapes the issued token; two routes with the same share their cached tokens. */
export type ResourceDigest = string;

/**
 * Digest of all that shapes the token of a route: authorization server, client, grant, types, actor, the other server of a
 * chain, resource, audience, scope, extra parameters, and the check it passed.
 */
export function resourceDigest(route: Route): ResourceDigest {
  const { credential } = route;
  if (credential.kind === 'passthrough' || credential.kind === 'none') return '';
  const { authorizationServer: server, target } = credential;
  return digest([
    server.name,
    server.issuer,
    server.tokenEndpoint,
    server.clientId,
    server.clientAuth,
    server.grant,
    server.extraParams,
    server.dpop,
    credential.kind,
    credential.kind === 'exchange' ? [route.subjectToken.type, credential.actorToken, credential.chain] : [],
    target.resource,
    target.audience,
    target.scope,
    target.requestedTokenType,
    target.expectAudience,
    // Else one route's token could get the scopes that only another may add.
    ...(route.stepUp.length === 0 ? [] : [route.stepUp]),
  ]);
}

/** Keys of a subject token as one connection presented it; the next request on it mostly asks for the same. */
const keysBySubject = new WeakMap<Subject, Map<string, string>>();
/** A client that makes up session ids must not make this memory grow. */
const MAX_KEYS = 32;
/** Nor one that makes up long ones: servers name sessions by far less. */
const MAX_KEPT_ID = 256;

/** What a token is kept under: per (session, resource), and always bound to the subject token. */
export function tokenKey({ subject, id }: Session, resource: ResourceDigest): string {
  if (subject === undefined) return digest([undefined, id, resource]);
  if (id !== undefined && id.length > MAX_KEPT_ID) return digest([subject.digest, id, resource]);
  let keys = keysBySubject.get(subject);
  if (keys === undefined || keys.size >= MAX_KEYS) {
    keys = new Map();
    keysBySubject.set(subject, keys);
  }
  // A digest has no colon, so no two pairs are the same here.
  const pair = id === undefined ? resource : `${resource}:${id}`;
  let key = keys.get(pair);
  if (key === undefined) {
    key = digest([subject.digest, id, resource]);
    keys.set(pair, key);
  }
  return key;
}

/** What a refusal is kept under: the subject token and the resource, whatever the session id. */
export function refusalKey(subject: Subject, resource: ResourceDigest): string {
  return digest([subject.digest, resource]);
}

/** What the assertion of a chain is kept under: the subject token, and the resource that it leads to; no token is kept there. */
export function assertionKey(subject: Subject, resource: ResourceDigest): string {
  return digest(['assertion', subject.digest, resource]);
}

/** An array as JSON is an unambiguous encoding: no two lists of parts collide, as joined strings would. */
function digest(parts: readonly unknown[]): string {
  return hash('sha256', JSON.stringify(parts), 'base64url');
}
