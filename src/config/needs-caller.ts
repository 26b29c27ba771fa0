import type { Route } from './config.ts';

/** Does a request without a caller's token get 401 on this route? Other routes forward it, with or without a token of ours. */
export function needsCaller({ credential, subjectToken }: Pick<Route, 'credential' | 'subjectToken'>): boolean {
  return credential.kind === 'exchange' && credential.onMissingSubject === 'deny' && subjectToken.file === undefined;
}
