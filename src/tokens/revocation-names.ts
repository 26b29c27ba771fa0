import { hash } from 'node:crypto';
import { type Claims, readClaims } from './claims.ts';
import type { Subject } from './subject.ts';

/** The end of what an issuer's subject, or one session of it, may do with the tokens that it has. */
export interface Revocation {
  readonly issuer: string;
  /** `sub`, or `email` in lower case. Undefined where only the session is known. */
  readonly subject: { readonly claim: 'sub' | 'email'; readonly value: string } | undefined;
  /** `sid`. Undefined: all sessions of the subject. */
  readonly session: string | undefined;
  /** Epoch milliseconds. Tokens that were issued up to then are revoked. */
  readonly atMs: number;
}

/** The keys under which a token may be revoked, by one set of its claims. */
export interface Names {
  readonly issuer: string;
  readonly keys: readonly string[];
  /** Epoch milliseconds. A token without `iat` counts as older than every revocation. */
  readonly issuedAtMs: number;
}

/** Everything that a token is called. */
export interface Identity {
  /** The claims of the introspection that it was made of. */
  readonly introspected: Claims;
  /** By its own claims, and by those of its introspection. Empty for a token without claims. */
  readonly names: readonly Names[];
}

/** A revocation may name the token as it names itself, or as its introspection does. */
export function toIdentity({ introspected, token }: Pick<Subject, 'introspected' | 'token'>): Identity {
  const own = readClaims(token.reveal());
  const sets: Claims[] = introspected === undefined ? [own] : [own, { ...own, ...introspected }];
  return { introspected, names: sets.flatMap(namesOf) };
}

function namesOf(claims: Claims): Names[] {
  const { iss, sub, sid, iat, email } = claims ?? {};
  if (typeof iss !== 'string') return [];
  const users: [string, string][] = [];
  if (typeof sub === 'string') users.push(['sub', sub]);
  if (typeof email === 'string') users.push(['email', email.toLowerCase()]);
  const keys = users.map(([claim, value]) => digest([iss, claim, value]));
  if (typeof sid === 'string') keys.push(digest([iss, 'sid', sid]));
  // The session of this token is unknown, so it ends with each of them.
  else keys.push(...users.map(([claim, value]) => digest([iss, claim, value, 'any session'])));
  const issuedAtMs = typeof iat === 'number' && Number.isFinite(iat) ? iat * 1000 : Number.NEGATIVE_INFINITY;
  return [{ issuer: iss, keys, issuedAtMs }];
}

/** The keys of the tokens that a revocation ends. */
export function keysOfRevocation({ issuer, subject, session }: Revocation): readonly string[] {
  const user = subject === undefined ? [] : [subject.claim, subject.value];
  if (session === undefined) return subject === undefined ? [] : [digest([issuer, ...user])];
  const ofSession = digest([issuer, 'sid', session]);
  return subject === undefined ? [ofSession] : [ofSession, digest([issuer, ...user, 'any session'])];
}

/** JSON is unambiguous, and a digest bounds the memory of long claims. */
function digest(parts: readonly string[]): string {
  return hash('sha256', JSON.stringify(parts), 'base64url');
}
