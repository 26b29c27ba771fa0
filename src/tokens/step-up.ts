import type { Route } from '../config/config.ts';

/**
 * The scopes that a token needs beside those it was asked for with, where the route may add every one of them.
 * @param have scopes that were added to the token already
 * @param wanted what the upstream says that the request needs
 * @returns undefined where one may not be added, or there is none to add
 */
export function scopesToAdd(
  { stepUp, credential }: Route,
  have: readonly string[],
  wanted: readonly string[],
): readonly string[] | undefined {
  if (credential.kind !== 'exchange') return undefined;
  const asked = new Set([...(credential.target.scope?.split(' ') ?? []), ...have]);
  const missing = wanted.filter((scope) => !asked.has(scope));
  return missing.length > 0 && missing.every((scope) => stepUp.includes(scope)) ? missing : undefined;
}

/** A credential that is asked for with these scopes as well. */
export function withScopes<Credential extends { readonly target: { readonly scope: string | undefined } }>(
  credential: Credential,
  scopes: readonly string[],
): Credential {
  const own = credential.target.scope;
  const scope = [...(own === undefined ? [] : [own]), ...scopes].join(' ');
  return { ...credential, target: { ...credential.target, scope } };
}
