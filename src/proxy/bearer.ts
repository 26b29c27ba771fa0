import type { Route } from '../config/config.ts';
import type { RouteTable } from '../routing/route-table.ts';
import type { Broker } from '../tokens/broker.ts';
import type { Clock } from '../tokens/clock.ts';
import { hasEnded, type IssuedToken } from '../tokens/issued.ts';
import type { Cause } from '../tokens/observer.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import { headerValues } from './headers.ts';
import type { Bearer, Passage } from './passage.ts';
import { callersTraceId } from './request-line.ts';

export interface BearerOptions {
  readonly broker: Broker;
  readonly clock: Clock;
}

/**
 * The token that a request bears upstream, and what becomes of it as the upstream answers. Undefined on a route without.
 * @throws {CambistError} all that an exchange may throw
 */
export async function bearerFor(
  passage: Passage,
  route: Route,
  subject: Subject | undefined,
  sessionHeader: string,
  table: RouteTable,
  { broker, clock }: BearerOptions,
): Promise<Bearer | undefined> {
  const ids = headerValues(passage.request.rawHeaders, sessionHeader);
  const session: Session = { subject, id: ids.length === 0 ? undefined : ids.join(',') };

  const cause = (): Cause => ({
    requestId: passage.id,
    traceId: passage.span?.traceId ?? callersTraceId(passage),
    span: passage.span,
  });
  const obtain = async (): Promise<IssuedToken | undefined> => {
    const lookup = broker.lookUp(route, session, cause);
    passage.cache = lookup.result;
    switch (lookup.result) {
      case 'bypass':
        return undefined;
      case 'hit':
        return lookup.token;
      case 'negative':
        throw lookup.error;
      case 'miss':
      case 'joined': {
        const startedMs = clock.monotonicMs();
        try {
          return await lookup.pending;
        } finally {
          passage.exchangeMs = clock.monotonicMs() - startedMs;
        }
      }
    }
  };
  const first = await obtain();
  if (first === undefined) return undefined;
  let token = first;
  const replace = async (): Promise<IssuedToken> => {
    token = (await obtain()) ?? token;
    return token;
  };
  return {
    token,
    hasEnded: () => hasEnded(token, clock),
    replace,
    refuse: () => void broker.refuse(route, session, token),
    renew: () => (broker.refuse(route, session, token) ? replace() : undefined),
    stepUp(wanted) {
      const pending = broker.stepUp(route, session, token, wanted, cause);
      return pending?.then(({ token: raised, added }) => {
        token = raised;
        passage.stepUp = added;
        return token;
      });
    },
    answered(status, header) {
      const { method } = passage.request;
      const done = status >= 200 && status < 300;
      if (session.id === undefined) {
        const opened = method === 'POST' && done ? header(sessionHeader) : undefined;
        if (opened !== undefined) broker.openSession(route, session, opened, token);
      } else if (status === 404 || (method === 'DELETE' && done)) {
        const routes = subject === undefined ? [route] : siblings(passage, route, table);
        for (const ended of routes) broker.endSession(ended, session, done ? 'client' : 'upstream');
      }
    },
  };
}

/** The routes that share a backend's sessions with this one, itself among them: those that other messages would take. */
function siblings({ target }: Passage, route: Route, table: RouteTable): readonly Route[] {
  const candidates = target === undefined ? [] : table.candidates(target);
  return [route, ...candidates.filter((other) => other !== route && other.credential.kind === 'exchange')];
}
