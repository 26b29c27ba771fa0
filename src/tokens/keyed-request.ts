import type { Clock } from '../clock/clock.ts';
import type { Route, TokenCredential } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import type { Cause } from '../observability/token-observer.ts';
import type { CacheOwner } from './cache.ts';
import { keptTokenKey, type ResourceDigest, resourceDigest, type Session, subjectKey } from './session.ts';
import type { SharedEntry } from './shared-token.ts';

/** Keys that are remembered at a time. A flood of keys only makes the oldest cooldowns end early. */
const MAX_KEYS = 10_000;

/** Admits an event for a key, and no other event for that key until its cooldown ends. */
type Cooldown = (key: string) => boolean;

export function createCooldown(cooldownMs: number, clock: Clock): Cooldown {
  /** Monotonic milliseconds at which each cooldown ends. All last equally long, so they end in the order of their start. */
  const endsAtMs = new Map<string, number>();

  return (key) => {
    const nowMs = clock.monotonicMs();
    if (nowMs < (endsAtMs.get(key) ?? nowMs)) return false;
    for (const [other, untilMs] of endsAtMs) {
      if (untilMs > nowMs && endsAtMs.size < MAX_KEYS) break;
      endsAtMs.delete(other);
    }
    endsAtMs.set(key, nowMs + cooldownMs);
    return true;
  };
}

/**
 * The requested scopes that a token lacks, when the route may add all of them.
 * @param present scopes that were added to the token before
 * @param wanted scopes that the upstream requires
 * @returns undefined when the route may not add one of them, or the token has them all
 */
export function scopesToAdd(
  { stepUp, credential }: Route,
  present: readonly string[],
  wanted: readonly string[],
): readonly string[] | undefined {
  if (credential.kind !== 'exchange') return undefined;
  const known = new Set([...(credential.target.scope?.split(' ') ?? []), ...present]);
  const missing = wanted.filter((scope) => !known.has(scope));
  return missing.length > 0 && missing.every((scope) => stepUp.includes(scope)) ? missing : undefined;
}

/** The same credential with more scopes. */
function withScopes<Credential extends { readonly target: { readonly scope: string | undefined } }>(
  credential: Credential,
  scopes: readonly string[],
): Credential {
  const own = credential.target.scope;
  const scope = [...(own === undefined ? [] : [own]), ...scopes].join(' ');
  return { ...credential, target: { ...credential.target, scope } };
}

/** A request for a token, and the key that its token is cached under. */
export interface KeyedRequest {
  readonly route: Route;
  readonly credential: TokenCredential;
  readonly session: Session;
  readonly resource: ResourceDigest;
  readonly key: string;
  readonly cause: (() => Cause) | undefined;
  /** Scopes beside the route's own, sorted. */
  readonly added: readonly string[];
}

/** The same request with more scopes. Its token replaces the token with fewer scopes. */
export function withAddedScopes(request: KeyedRequest, added: readonly string[]): KeyedRequest {
  if (added.length === 0) return request;
  const resource = `${request.resource} ${added.join(' ')}`;
  return { ...request, credential: withScopes(request.credential, added), resource, added };
}

/** A session id comes from a header and contains no line break, so it cannot be confused with added scopes. */
export function flightKey({ key, added }: KeyedRequest): string {
  return added.length === 0 ? key : `${key}\n${added.join(' ')}`;
}

const digests = new WeakMap<Route, ResourceDigest>();

function digestOf(route: Route): ResourceDigest {
  let digest = digests.get(route);
  if (digest === undefined) {
    digest = resourceDigest(route);
    digests.set(route, digest);
  }
  return digest;
}

/** @returns undefined when the route sends no issued token */
export function requestFor(route: Route, session: Session, cause?: () => Cause): KeyedRequest | undefined {
  const { credential } = route;
  if (!('authorizationServer' in credential)) return undefined;
  const owner = sessionFor(credential, session, route);
  const resource = digestOf(route);
  return { route, credential, session: owner, resource, key: keptTokenKey(owner, resource), cause, added: [] };
}

/** The token of a request, as the second level sees it. Its keys do not contain the added scopes. */
export function entryOf({ route, credential, session: { subject }, key, added }: KeyedRequest): SharedEntry {
  const group = subject === undefined ? key : subjectKey(subject, digestOf(route));
  return { route, credential, subject, key, group, added };
}

export function ownerOf({ route, session }: KeyedRequest): CacheOwner {
  return { route: route.name, subject: session.subject?.digest };
}

/** All callers share one session when the token is for cambist itself. */
const OWN_SESSION: Session = { subject: undefined, id: undefined };

/** The session that owns the token. */
function sessionFor(credential: TokenCredential, session: Session, route: Route): Session {
  if (credential.kind === 'client_credentials') return OWN_SESSION;
  if (session.subject !== undefined)
    return hasOwnSubject(route) ? { subject: session.subject, id: undefined } : session;
  if (credential.onMissingSubject === 'client_credentials') return OWN_SESSION;
  throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${route.name}": the request has no subject token`);
}

/** A subject token from a file is cambist's own. All sessions that callers open on it are one. */
export function hasOwnSubject(route: Route): boolean {
  return route.subjectToken.file !== undefined;
}
