import type { Route } from './route.ts';

/** Tells whether a route exchanges, forwards or verifies the token of a caller, where there is one. */
export function readsCaller(route: Pick<Route, 'credential' | 'subjectToken'>): boolean {
  const { credential, subjectToken } = route;
  if (credential.kind === 'exchange') return subjectToken.file === undefined;
  return credential.kind === 'passthrough' || needsCaller(route);
}

/** Tells whether a request without a caller's token gets 401. Other routes forward it, with or without cambist's own token. */
export function needsCaller({ credential, subjectToken }: Pick<Route, 'credential' | 'subjectToken'>): boolean {
  if (credential.kind === 'secret') return subjectToken.verify !== undefined;
  return credential.kind === 'exchange' && credential.onMissingSubject === 'deny' && subjectToken.file === undefined;
}
