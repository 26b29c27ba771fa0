import type { Route } from './config.ts';

/** Tells whether a request without a caller's token gets 401. Other routes forward it, with or without cambist's own token. */
export function needsCaller({ credential, subjectToken }: Pick<Route, 'credential' | 'subjectToken'>): boolean {
  if (credential.kind === 'secret') return subjectToken.verify !== undefined;
  return credential.kind === 'exchange' && credential.onMissingSubject === 'deny' && subjectToken.file === undefined;
}
