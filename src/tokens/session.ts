import { hash } from 'node:crypto';
import type { Route } from '../config/route.ts';
import type { Subject } from './subject.ts';

/** A subject token and the client's session id. The id only narrows the token: another subject with the same id is another session. */
export interface Session {
  /** A token for cambist itself has no subject. */
  readonly subject: Subject | undefined;
  /** Value of `session.header`; undefined when the client sent none. */
  readonly id: string | undefined;
}

/** Identifies the part of a route that shapes its token. Routes with the same digest share cached tokens. */
export type ResourceDigest = string;

/**
 * Digest of everything that shapes the token of a route: authorization server with its trust anchors, client, grant, types, actor,
 * chain, resource, audience, scope, extra parameters, and the audience check. For secrets, keys and certificates it contains
 * their places, so that a rotation drops no token.
 */
export function resourceDigest(route: Route): ResourceDigest {
  const { credential } = route;
  if (!('authorizationServer' in credential)) return '';
  const { authorizationServer: server, target } = credential;
  return digest([
    server.name,
    server.issuer,
    server.tokenEndpoint,
    server.clientId,
    server.clientAuth,
    // Another CA may vouch for another server, and another client certificate may get another token.
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
    ...(target.connection === undefined ? [] : [{ connection: target.connection }]),
    // A refusal that is remembered contains the URL.
    ...(route.consent?.url === undefined ? [] : [{ consent: route.consent.url }]),
    // Otherwise a route could get a token with scopes that only another route may add.
    ...(route.stepUp.length === 0 ? [] : [route.stepUp]),
  ]);
}

/** Servers use much shorter session ids. A longer id is digested, so that invented ids do not fill the memory. */
const MAX_PLAIN_ID_LENGTH = 256;

/**
 * The cache key of a (session, resource) pair. It always contains the subject token's digest. Digests contain neither a colon nor a
 * hash sign, so keys cannot collide. Concatenation is cheap, and every request passes here.
 */
export function tokenKey({ subject, id }: Session, resource: ResourceDigest): string {
  const pair = `${subject?.digest ?? ''}:${resource}`;
  if (id === undefined) return pair;
  return id.length <= MAX_PLAIN_ID_LENGTH ? `${pair}:${id}` : `${pair}#${digest(id)}`;
}

/**
 * Like `tokenKey`, and leaves the key with its subject. A connection uses the same key for call after call, and V8 looks up a known
 * string ten times as fast as a new one, which it has to flatten and hash first.
 */
export function keptTokenKey(session: Session, resource: ResourceDigest): string {
  const { subject, id } = session;
  const last = subject?.lastKey;
  if (last !== undefined && last.id === id && last.resource === resource) return last.key;
  const key = tokenKey(session, resource);
  if (subject !== undefined && (id?.length ?? 0) <= MAX_PLAIN_ID_LENGTH) subject.lastKey = { id, resource, key };
  return key;
}

/** The key for all sessions of a subject token: of its cached refusal, and of its assertion in a chain. Each has its own store. */
export function subjectKey(subject: Subject, resource: ResourceDigest): string {
  return tokenKey({ subject, id: undefined }, resource);
}

/** JSON is unambiguous: different lists of parts never have the same text, as concatenated strings may. */
function digest(value: unknown): string {
  return hash('sha256', JSON.stringify(value), 'base64url');
}
