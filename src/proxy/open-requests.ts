import type { Revocations } from '../tokens/revocations.ts';
import { type Subject, toSubject } from '../tokens/subject.ts';
import { headerTokens } from './caller-tokens.ts';
import type { ProxyRequest } from './proxy-request.ts';

/** The requests in flight by their callers' tokens, so that a revocation ends them. Exists only with `signals`. */
export interface OpenRequests {
  /**
   * Notes the caller of a request until it ends.
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where its token was revoked since it was read
   */
  add(request: ProxyRequest, subject: Subject): void;
  /** Notes the callers of a request whose tokens are forwarded as they are. @throws {CambistError} as `add` */
  addForwarded(request: ProxyRequest): void;
}

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

  revocations.onRevoked(() => {
    for (const [request, subjects] of [...open]) {
      if (subjects.some(revocations.isRevoked)) request.revoke();
    }
  });

  return {
    add,
    addForwarded(request) {
      for (const token of headerTokens(request.incoming.rawHeaders, request.active.credentialHeaders)) {
        const subject = readable(token);
        if (subject !== undefined) add(request, subject);
      }
    },
  };
}

/** The backend judges a token that is bound to its holder. */
function readable(token: string): Subject | undefined {
  try {
    return toSubject(token);
  } catch {
    return undefined;
  }
}
