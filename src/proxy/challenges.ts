import type { AuthenticationRequirements } from '../errors.ts';
import { authenticationOf } from '../tokens/interaction.ts';

/** One `name=value` of a challenge, with its position in the text. */
export interface ChallengeParameter {
  /** Lower case. */
  readonly name: string;
  /** Without quotes and escapes. */
  readonly value: string;
  /** Offset of the name. */
  readonly begin: number;
  /** Offset of the value, including its quotes. */
  readonly start: number;
  readonly end: number;
}

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Offset of the scheme. */
  readonly begin: number;
  readonly parameters: readonly ChallengeParameter[];
}

/** Bounds the parsing. No known server sends a longer challenge. */
const MAX_LENGTH = 4096;

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const TOKEN_68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
const QUOTED = /"((?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*)"/y;
const SPACE = /[ \t]*/y;
const SEPARATOR = /[ \t]*(?:,[ \t]*)+/y;

/**
 * Parses a `WWW-Authenticate` value, which may contain several challenges.
 * @returns undefined where the value is malformed or too long
 * @see RFC 9110 section 11.6.1
 */
export function parseChallenges(text: string): readonly Challenge[] | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const challenges: { scheme: string; begin: number; parameters: ChallengeParameter[] }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };

  /** Consumes `name = value`. Consumes nothing where there is no parameter. */
  const takeParameter = (): ChallengeParameter | undefined => {
    const begin = at;
    const name = take(TOKEN)?.[0];
    take(SPACE);
    if (name !== undefined && text[at] === '=') {
      at += 1;
      take(SPACE);
      const start = at;
      const quoted = take(QUOTED);
      const value = quoted === null ? take(TOKEN)?.[0] : (quoted[1] ?? '').replace(/\\(.)/gs, '$1');
      if (value !== undefined) return { name: name.toLowerCase(), value, begin, start, end: at };
    }
    at = begin;
    return undefined;
  };

  take(SEPARATOR);
  take(SPACE);
  while (at < text.length) {
    const current = challenges.at(-1);
    const parameter = takeParameter();
    if (parameter !== undefined) {
      if (current === undefined) return undefined;
      current.parameters.push(parameter);
    } else {
      const begin = at;
      const scheme = take(TOKEN)?.[0];
      if (scheme === undefined) return undefined;
      challenges.push({ scheme: scheme.toLowerCase(), begin, parameters: [] });
      if (take(/[ \t]+/y) !== null && at < text.length && text[at] !== ',') {
        if (take(TOKEN_68) === null) {
          const first = takeParameter();
          if (first === undefined) return undefined;
          challenges.at(-1)?.parameters.push(first);
        }
      }
    }
    if (take(SEPARATOR) === null) {
      take(SPACE);
      if (at < text.length) return undefined;
    }
  }
  return challenges;
}

/** The challenges of all headers. Those behind the first 4 KiB are not read. */
function allChallenges(values: readonly string[]): readonly Challenge[] {
  let length = 0;
  return values.flatMap((value) => {
    length += value.length;
    return length > MAX_LENGTH ? [] : (parseChallenges(value) ?? []);
  });
}

/**
 * The scopes that the upstream asks for in its only Bearer challenge of this kind. Undefined without one, or with several.
 * @param values all values of `WWW-Authenticate`
 * @see RFC 6750 section 3.1
 */
export function insufficientScope(values: readonly string[]): readonly string[] | undefined {
  const found = allChallenges(values).filter(
    ({ scheme, parameters }) => scheme === 'bearer' && parameterOf(parameters, 'error') === 'insufficient_scope',
  );
  const [only, ...more] = found;
  if (only === undefined || more.length > 0) return undefined;
  const scopes = scopesOf(parameterOf(only.parameters, 'scope'));
  return scopes.length === 0 ? undefined : scopes;
}

/**
 * Removes the challenges that ask for more scopes.
 * @param mayKeep decides by the scopes that a challenge names
 * @returns undefined where no challenge is left, or where the value is malformed and must not be passed on
 */
export function withoutScopeChallenges(
  value: string,
  mayKeep: (scopes: readonly string[]) => boolean,
): string | undefined {
  if (!/error/i.test(value)) return value;
  const challenges = parseChallenges(value);
  if (challenges === undefined) return /insufficient/i.test(value) ? undefined : value;
  const texts = challenges.map(({ begin }, index) => value.slice(begin, challenges[index + 1]?.begin));
  const kept = texts.filter((_, index) => {
    const parameters = challenges[index]?.parameters ?? [];
    if (!parameters.some(({ name, value }) => name === 'error' && /^insufficient_scope$/i.test(value))) return true;
    return mayKeep(scopesOf(parameterOf(parameters, 'scope')));
  });
  if (kept.length === texts.length) return value;
  return kept.length === 0 ? undefined : kept.map((text) => text.replace(/(?<![ \t,])[ \t,]+$/, '')).join(', ');
}

function scopesOf(text: string | undefined): readonly string[] {
  return [...new Set(text?.split(' ').filter((scope) => scope !== ''))];
}

/** @returns undefined where the parameter is missing or repeated */
function parameterOf(parameters: readonly ChallengeParameter[], name: string): string | undefined {
  const found = parameters.filter((parameter) => parameter.name === name);
  return found.length === 1 ? found[0]?.value : undefined;
}

/**
 * Replaces the metadata that a challenge names. The upstream's metadata would send the caller to an authorization server whose
 * tokens this route does not accept.
 * @param url of cambist's own metadata; undefined removes the parameter
 * @returns undefined where the challenge is malformed and must not be passed on
 */
export function withResourceMetadata(value: string, url: string | undefined): string | undefined {
  if (!/resource_metadata/i.test(value)) return value;
  const challenges = parseChallenges(value);
  if (challenges === undefined) return undefined;
  let changed = value;
  // From the end, so that earlier offsets stay valid.
  for (const { parameters } of challenges.toReversed()) {
    const foreign = parameters.filter(({ name }) => name === 'resource_metadata');
    const [only, ...more] = foreign;
    if (more.length > 0) return undefined;
    if (only === undefined) continue;
    const [from, to] = url === undefined ? cut(parameters, only) : [only.start, only.end];
    changed = changed.slice(0, from) + (url === undefined ? '' : `"${url}"`) + changed.slice(to);
  }
  return changed;
}

/** The URLs of metadata in a challenge, as lenient clients find them. */
export function metadataUrls(value: string): string[] {
  const found = value.matchAll(/resource_metadata[ \t]*=[ \t]*(?:"([^"]*)"?|([^\s,"]+))/gi);
  return Array.from(found, ([, quoted, bare]) => quoted ?? bare ?? '');
}

/** The range to remove with a parameter: it includes the comma on one side. */
function cut(parameters: readonly ChallengeParameter[], one: ChallengeParameter): [from: number, to: number] {
  const index = parameters.indexOf(one);
  const before = parameters[index - 1];
  const after = parameters[index + 1];
  return before === undefined ? [one.begin, after?.begin ?? one.end] : [before.end, one.end];
}

/** Does a challenge ask for another DPoP nonce? @see RFC 9449 section 9 */
export function asksForNonce(challenges: readonly string[]): boolean {
  return challenges.some((challenge) => /\buse_dpop_nonce\b/.test(challenge));
}

/**
 * The requirements of a backend for the sign-in of its user. Undefined where no challenge has any.
 * @see RFC 9470 section 3
 */
export function authenticationWanted(values: readonly string[]): AuthenticationRequirements | undefined {
  const parameters = allChallenges(values)
    .map((challenge) => challenge.parameters)
    .find((each) => parameterOf(each, 'error') === 'insufficient_user_authentication');
  if (parameters === undefined) return undefined;
  return authenticationOf({
    acr_values: parameterOf(parameters, 'acr_values'),
    max_age: parameterOf(parameters, 'max_age'),
  });
}

/** The reason that a backend gives for a 401. Unredacted. */
export interface BackendReason {
  readonly error: string;
  readonly description: string;
}

/**
 * The reason that a challenge gives for a refused token.
 * @see RFC 6750 section 3.1
 */
export function reasonInChallenges(values: readonly string[]): BackendReason | undefined {
  const parameters = allChallenges(values).flatMap((challenge) => challenge.parameters);
  const named = (name: string) => parameters.find((parameter) => parameter.name === name)?.value ?? '';
  return reasonOf(named('error'), named('error_description'));
}

/** @returns undefined where nothing is said */
export function reasonOf(error: string, description: string): BackendReason | undefined {
  return error === '' && description === '' ? undefined : { error, description };
}
