import type { Route, TokenCredential } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import type { Cause } from '../observability/token-observer.ts';
import { oncePer, type Secret } from '../secrets/secret.ts';
import type { CacheOwner } from './cache-entries.ts';
import type { Subject } from './subject.ts';
import { jsonDigest } from './token-text.ts';

/** A party that acts for the subject, with its own token (RFC 8693 section 1.1). */
export interface Actor {
  readonly token: Secret;
  /** Digest of its issuer and subject, which its next token has as well. */
  readonly id: string;
}

/** A subject token and the client's session id. The id only narrows the token: another subject with the same id is another session. */
export interface Session {
  /** A token for cambist itself has no subject. */
  readonly subject: Subject | undefined;
  /** The agent that sent the request, on a route whose actor it is. */
  readonly actor?: Actor | undefined;
  /** Value of `session.header`; undefined when the client sent none. */
  readonly id: string | undefined;
  /** The credential of a handshake or a list without a caller. */
  readonly unattended?: Route['unattended'];
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
  return jsonDigest([
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
  return id.length <= MAX_PLAIN_ID_LENGTH ? `${pair}:${id}` : `${pair}#${jsonDigest(id)}`;
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

/** A request for a token, and the key that its token is cached under. */
export interface KeyedRequest {
  readonly route: Route;
  readonly credential: TokenCredential;
  readonly session: Session;
  readonly resource: ResourceDigest;
  /** The key of the token. It does not contain the added scopes. */
  readonly key: string;
  readonly cause: (() => Cause) | undefined;
  /** Scopes beside the route's own, sorted. */
  readonly added: readonly string[];
}

/** The same request with more scopes. Its token replaces the token with fewer scopes. */
export function withAddedScopes(request: KeyedRequest, added: readonly string[]): KeyedRequest {
  if (added.length === 0) return request;
  const resource = `${request.resource} ${added.join(' ')}`;
  const { credential } = request;
  const scope = [credential.target.scope ?? [], added].flat().join(' ');
  return { ...request, credential: { ...credential, target: { ...credential.target, scope } }, resource, added };
}

/** A session id comes from a header and contains no line break, so it cannot be confused with added scopes. */
export function flightKey({ key, added }: KeyedRequest): string {
  return added.length === 0 ? key : `${key}\n${added.join(' ')}`;
}

const digestOf = oncePer(resourceDigest);

/** Whose token it is belongs to what is issued: the token says who acts. */
function resourceOf(route: Route, { actor }: Session): ResourceDigest {
  return actor === undefined ? digestOf(route) : `${digestOf(route)}.${actor.id}`;
}

/** @returns undefined when the route sends no issued token */
export function requestFor(route: Route, session: Session, cause?: () => Cause): KeyedRequest | undefined {
  const { credential } = route;
  if (!('authorizationServer' in credential) || session.unattended === 'none') return undefined;
  const owner = sessionFor(credential, session, route);
  const resource = resourceOf(route, owner);
  return { route, credential, session: owner, resource, key: keptTokenKey(owner, resource), cause, added: [] };
}

export function ownerOf({ route, session }: KeyedRequest): CacheOwner {
  return { route: route.name, subject: session.subject?.digest };
}

/** All callers share one session when the token is for cambist itself. */
const OWN_SESSION: Session = { subject: undefined, id: undefined };

/** The session that owns the token. */
function sessionFor(credential: TokenCredential, session: Session, route: Route): Session {
  if (credential.kind === 'client_credentials') return OWN_SESSION;
  if (session.subject !== undefined) return hasOwnSubject(route) ? { ...session, id: undefined } : session;
  if ([credential.onMissingSubject, session.unattended].includes('client_credentials')) return OWN_SESSION;
  throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${route.name}": the request has no subject token`);
}

/** A subject token from a file is cambist's own. All sessions that callers open on it are one. */
export function hasOwnSubject(route: Route): boolean {
  return route.subjectToken.own !== undefined;
}
