import type { Route } from '../config/route.ts';

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
export function withScopes<Credential extends { readonly target: { readonly scope: string | undefined } }>(
  credential: Credential,
  scopes: readonly string[],
): Credential {
  const own = credential.target.scope;
  const scope = [...(own === undefined ? [] : [own]), ...scopes].join(' ');
  return { ...credential, target: { ...credential.target, scope } };
}
