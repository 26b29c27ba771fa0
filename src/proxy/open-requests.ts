import { CambistError } from '../errors.ts';
import type { Revocations } from '../tokens/revocations.ts';
import { revokedToken, type Subject, toForwardedSubject } from '../tokens/subject.ts';
import { failRequest } from './fail-request.ts';
import { headerValues } from './headers.ts';
import type { OpenRequests, ProxyRequest } from './proxy-request.ts';

/** A credential has one word or two. */
const MAX_WORDS = 16;

export function createOpenRequests(revocations: Revocations): OpenRequests {
  const open = new Map<ProxyRequest, Subject[]>();

  function add(request: ProxyRequest, subject: Subject): void {
    revocations.check(subject);
    const subjects = open.get(request);
    if (subjects === undefined) {
      open.set(request, [subject]);
      request.onClosed(() => open.delete(request));
    } else if (!subjects.includes(subject)) subjects.push(subject);
  }

  function endIfRevoked(request: ProxyRequest): boolean {
    const isRevoked = open.get(request)?.some(revocations.isRevoked) === true;
    if (isRevoked) revoke(request);
    return isRevoked;
  }

  // This runs a moment after a revocation, so that many at once cost one search.
  revocations.onRevoked(() => {
    for (const request of [...open.keys()]) endIfRevoked(request);
  });

  return {
    add,
    endIfRevoked,
    addForwarded(request) {
      const { incoming, active } = request;
      for (const name of active.credentialHeaders) {
        for (const value of headerValues(incoming.rawHeaders, name)) {
          // A backend may separate scheme and token otherwise than cambist, so each word could be the token.
          for (const word of wordsOf(name, value)) add(request, toForwardedSubject(word));
        }
      }
    },
  };
}

/** Ends the request: with 401, or by closing its connection once a response began. */
function revoke(request: ProxyRequest): void {
  if (request.isClosed) return;
  if (request.response.headersSent) request.abort('revoked');
  else failRequest(request, revokedToken('the subject token was revoked during the request'));
  request.isRevoked = true;
  request.abortUpstream?.();
}

/** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where there are too many to compare */
function wordsOf(header: string, value: string): readonly string[] {
  const words = value.split(/[\s,]+/, MAX_WORDS + 1);
  if (words.length <= MAX_WORDS) return words;
  throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', `the header "${header}" has more than ${MAX_WORDS} words`);
}
