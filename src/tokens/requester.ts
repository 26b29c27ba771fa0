import { hash } from 'node:crypto';
import type { Route } from '../config/route.ts';
import { claimsOf, type Subject } from './subject.ts';

/** The party that a token request is for. It decides where the request waits, and never which token is issued. */
export interface Requester {
  /** Digest that identifies the caller; undefined when the token is for cambist itself. */
  readonly caller: string | undefined;
  /** Address that the caller connects from; undefined on a Unix socket. */
  readonly peer: string | undefined;
}

/** A requester whose history at one authorization server is known. */
export interface RankedRequester extends Requester {
  /** The server has issued a token for this caller before. Always true for cambist itself. */
  readonly accepted: boolean;
}

/** cambist itself: no caller is involved. */
export const CAMBIST: Requester = { caller: undefined, peer: undefined };

/**
 * Identifies the party that a token request is made for.
 *
 * A verified subject token identifies its caller by `iss` and `sub`, so a renewed token is still the same caller. Nothing in
 * an unverified token can be trusted, so there the token itself is the identity.
 * @param subject undefined where the token is for cambist itself
 */
export function requesterOf(route: Route, subject: Subject | undefined, peer: string | undefined): Requester {
  const { file, verify } = route.subjectToken;
  if (subject === undefined || file !== undefined) return CAMBIST;
  return { caller: (verify && verifiedIdentity(subject)) ?? subject.digest, peer };
}

/** Digest of the user that a verified token names. JSON starts with a bracket, so it never equals the digest of a token. */
function verifiedIdentity(subject: Subject): string | undefined {
  const { iss, sub } = claimsOf(subject) ?? {};
  if (typeof iss !== 'string' || typeof sub !== 'string') return undefined;
  return hash('sha256', JSON.stringify([iss, sub]), 'base64url');
}
