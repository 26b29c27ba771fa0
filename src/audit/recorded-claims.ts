import { createHmac } from 'node:crypto';
import type { Audit } from '../config/audit.ts';
import { shortened } from '../observability/shortened.ts';
import type { TokenClaims } from '../observability/token-observer.ts';
import { readPseudonymKey } from '../secrets/credential.ts';
import { hidesToken } from '../secrets/like-a-token.ts';
import type { Secret } from '../secrets/secret.ts';
import { isJsonObject } from '../tokens/token-text.ts';

/** A claim as a record has it. */
type ClaimValue = string | number | boolean | readonly (string | number | boolean)[] | ActorClaims;

/** An actor, and the actor that it acted for: the outermost is the current one (RFC 8693 section 4.1). */
export interface ActorClaims {
  readonly [claim: string]: ClaimValue;
}

/** Replaces the value of a claim by its pseudonym, if it has one. Undefined until the key for it is read. */
type Pseudonymize = (claim: string, value: string) => string | undefined;

/** Issuers write what they like into claims, and records must stay short. */
const MAX_TEXT_LENGTH = 256;
const MAX_LIST_LENGTH = 16;
/** Longest chain of actors. */
const MAX_ACTORS = 8;
/** Claims that identify an actor even where they are not configured. */
const ACTOR_CLAIMS = ['iss', 'sub'];

/** The chain of actors of a token, or undefined where it has none. */
export function pickActors(
  { act }: TokenClaims,
  names: readonly string[],
  pseudonymize: Pseudonymize,
): ActorClaims | undefined {
  return actors(act, names, pseudonymize, MAX_ACTORS);
}

/** Picks the configured claims of a token. Objects other than `act`, and values that look like tokens, are left out. */
export function pickClaims(
  claims: TokenClaims,
  names: readonly string[],
  pseudonymize: Pseudonymize,
  depth = MAX_ACTORS,
): ActorClaims {
  const entries = names.flatMap((name): [string, ClaimValue][] => {
    if (!Object.hasOwn(claims, name)) return [];
    const value =
      name === 'act' ? actors(claims[name], names, pseudonymize, depth) : plain(name, claims[name], pseudonymize);
    return value === undefined ? [] : [[name, value]];
  });
  // Defines each as a property of its own, whatever its name.
  return Object.fromEntries(entries);
}

function actors(
  act: unknown,
  names: readonly string[],
  pseudonymize: Pseudonymize,
  depth: number,
): ActorClaims | undefined {
  if (!isJsonObject(act)) return undefined;
  if (depth === 0) return { truncated: true };
  const all = new Set([...ACTOR_CLAIMS, ...names, 'act']);
  return pickClaims(act, [...all], pseudonymize, depth - 1);
}

function plain(name: string, value: unknown, pseudonymize: Pseudonymize): ClaimValue | undefined {
  if (!Array.isArray(value)) return scalar(name, value, pseudonymize);
  const list = value.slice(0, MAX_LIST_LENGTH).map((item: unknown) => scalar(name, item, pseudonymize));
  return list.filter((item) => item !== undefined);
}

function scalar(name: string, value: unknown, pseudonymize: Pseudonymize): string | number | boolean | undefined {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return undefined;
  const text = String(value);
  const shown = pseudonymize(name, text);
  if (shown !== text) return shown;
  return typeof value === 'string' ? boundedText(value) : value;
}

/** Shortens a long text. Undefined for one that looks like a token. */
export function boundedText(text: string): string | undefined {
  if (hidesToken(text)) return undefined;
  return text.length <= MAX_TEXT_LENGTH ? text : `${shortened(text, MAX_TEXT_LENGTH)}…`;
}

/** Replaces claims by an HMAC of their values. */
export type Pseudonyms = ReturnType<typeof createPseudonyms>;

/** @param config undefined: every claim is recorded as it is */
export function createPseudonyms(config: Audit['pseudonymize']) {
  const claims = new Set(config?.claims);
  let key: Secret | undefined;

  return {
    pseudonymize(claim: string, value: string): string | undefined {
      if (!claims.has(claim)) return value;
      return key && `hmac:${createHmac('sha256', key.reveal()).update(value).digest('base64url')}`;
    },
    /** False until the key is read. Claims that need it are left out until then. */
    get isReady(): boolean {
      return config === undefined || key !== undefined;
    },
    /**
     * Reads the key. An unreadable key leaves the previous one in use.
     * @returns whether the key has changed
     * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
     */
    async readKey(): Promise<boolean> {
      if (config === undefined) return false;
      const read = await readPseudonymKey(config.key);
      const hasChanged = read.reveal() !== key?.reveal();
      key = read;
      return hasChanged;
    },
  };
}
