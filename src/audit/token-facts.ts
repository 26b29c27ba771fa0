import { LRUCache } from 'lru-cache';
import type { TokenClaims } from '../observability/token-observer.ts';
import { grantedBy } from '../tokens/audience.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { claimsOf, type Subject } from '../tokens/subject.ts';
import { bareToken, readClaims } from '../tokens/token-text.ts';
import type { Identity, IssuedTokenRecord } from './record-schema.ts';
import { type ActorClaims, boundedText, type Pseudonyms, pickActors, pickClaims } from './recorded-claims.ts';

interface SubjectFacts {
  /** An opaque token has no claims. */
  readonly claims: ActorClaims | undefined;
  readonly actors: ActorClaims | undefined;
}

interface IssuedFacts extends SubjectFacts {
  readonly token: Omit<IssuedTokenRecord, 'authorization_server'>;
  /** The token says who its subject is. */
  readonly namesSubject: boolean;
}

/** A caller's token, and what its authorization server said about it. */
type AuditedSubject = Pick<Subject, 'token' | 'digest' | 'introspected'>;

/** The parts of tokens that records have. Each token is decoded once. */
export type TokenFacts = ReturnType<typeof createTokenFacts>;

/** Callers whose requests alternate. */
const MAX_SUBJECTS = 10_000;

export function createTokenFacts(names: readonly string[], { pseudonymize }: Pseudonyms) {
  const subjects = new LRUCache<string, SubjectFacts>({ max: MAX_SUBJECTS });
  /** The key is the claims of an introspection, because the next one may state others. */
  let introspections = new WeakMap<object, SubjectFacts>();
  let issued = new WeakMap<IssuedToken, IssuedFacts>();

  function factsOf(claims: TokenClaims | undefined): SubjectFacts {
    if (claims === undefined) return { claims: undefined, actors: undefined };
    return { claims: pickClaims(claims, names, pseudonymize), actors: pickActors(claims, names, pseudonymize) };
  }

  function fromClaims(claims: TokenClaims | undefined): IssuedFacts {
    const facts = factsOf(claims);
    if (claims === undefined) return { ...facts, token: { opaque: true }, namesSubject: false };
    const { audience, scope } = grantedBy(claims, undefined);
    const { jti, exp, sub } = claims;
    const token = {
      jti: typeof jti === 'string' ? boundedText(jti) : undefined,
      aud: audience.length > 0 ? [...audience] : undefined,
      scope,
      exp: typeof exp === 'number' && Number.isFinite(exp) ? exp : undefined,
      act: facts.actors,
    };
    return { ...facts, token, namesSubject: typeof sub === 'string' };
  }

  return {
    subject(subject: AuditedSubject): SubjectFacts {
      const { introspected, digest } = subject;
      let facts = introspected === undefined ? subjects.get(digest) : introspections.get(introspected);
      if (facts === undefined) {
        facts = factsOf(claimsOf(subject));
        if (introspected === undefined) subjects.set(digest, facts);
        else introspections.set(introspected, facts);
      }
      return facts;
    },
    issued(token: IssuedToken): IssuedFacts {
      let facts = issued.get(token);
      if (facts === undefined) {
        facts = fromClaims(readClaims(bareToken(token.authorization.reveal())));
        if (facts.token.opaque === true && token.granted.scope !== undefined) {
          facts = { ...facts, token: { ...facts.token, scope: token.granted.scope } };
        }
        issued.set(token, facts);
      }
      return facts;
    },
    fromClaims,
    actor: (claims: TokenClaims) => pickClaims(claims, names, pseudonymize),
    /** Decodes every token again, for another key. */
    forget(): void {
      subjects.clear();
      introspections = new WeakMap();
      issued = new WeakMap();
    },
  };
}

/**
 * Chooses between the claims of the caller's token and of the issued token. An unverified token proves nothing. The authorization
 * server has verified it before it issued another, so that token's claims count then.
 * @returns the most reliable claims about the subject, and the caller's own unverified claims beside them
 */
export function witnesses(
  caller: { readonly facts: SubjectFacts; readonly isVerified: boolean } | undefined,
  issued: IssuedFacts | undefined,
) {
  const fromCaller = caller?.facts.claims && identity(caller.isVerified, 'caller_token', caller.facts.claims);
  const fromIssued =
    caller !== undefined && issued?.namesSubject === true && issued.claims !== undefined
      ? identity(true, 'issued_token', issued.claims)
      : undefined;
  const actor =
    issued?.actors !== undefined
      ? identity(true, 'issued_token', issued.actors)
      : caller?.facts.actors && identity(caller.isVerified, 'caller_token', caller.facts.actors);
  const subject = caller?.isVerified === true ? fromCaller : (fromIssued ?? fromCaller);
  return { subject, caller: subject === fromCaller ? undefined : fromCaller, actor };
}

function identity(verified: boolean, from: Identity['from'], claims: ActorClaims): Identity {
  return { verified, from, claims };
}
