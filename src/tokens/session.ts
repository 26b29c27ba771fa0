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
 * Digest of all that shapes the token of a route: authorization server and by whom it is known to be that, client, grant, types,
 * actor, the other server of a chain, resource, audience, scope, extra parameters, and the check it passed. Of secrets, keys and
 * certificates it has the places, so that one which rotates there takes no token away.
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
    // What a server gave that another CA vouched for, or another certificate of ours was shown to, is another's token.
    server.tls,
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

/** Servers name sessions by far less; a longer id is digested, so that a client which makes up long ones fills no memory. */
const MAX_KEPT_ID = 256;

/**
 * What a token is kept under: per (session, resource), and always bound to the subject token. Digests have neither colon nor
 * hash sign, so no two keys are the same by chance; joining is all that it costs to make one on the path of each request.
 */
export function tokenKey({ subject, id }: Session, resource: ResourceDigest): string {
  const pair = `${subject?.digest ?? ''}:${resource}`;
  if (id === undefined) return pair;
  return id.length <= MAX_KEPT_ID ? `${pair}:${id}` : `${pair}#${digest(id)}`;
}

/**
 * Makes keys, and knows the last one of each subject again: a connection asks for the same one call after call, and to V8 a text that
 * it has seen is cheap to look up. One that is joined anew has to be put into one piece and digested first, which takes it ten times as long.
 */
export function createTokenKeys(): typeof tokenKey {
  const last = new WeakMap<
    Subject,
    { readonly id: string | undefined; readonly resource: ResourceDigest; readonly key: string }
  >();
  return (session, resource) => {
    const { subject, id } = session;
    const before = subject && last.get(subject);
    if (before !== undefined && before.id === id && before.resource === resource) return before.key;
    const key = tokenKey(session, resource);
    if (subject !== undefined && (id?.length ?? 0) <= MAX_KEPT_ID) last.set(subject, { id, resource, key });
    return key;
  };
}

/** What is kept for all sessions of a subject token: a refusal, or the assertion of a chain, each in a store of its own. */
export function subjectKey(subject: Subject, resource: ResourceDigest): string {
  return tokenKey({ subject, id: undefined }, resource);
}

/** JSON is an unambiguous encoding: no two lists of parts collide, as joined strings would. */
function digest(value: unknown): string {
  return hash('sha256', JSON.stringify(value), 'base64url');
}
