import type { Clock } from '../clock/clock.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { CacheResult, Cause } from '../observability/token-observer.ts';
import type { Broker } from '../tokens/broker.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import type { Actor, Session } from '../tokens/session.ts';
import type { SteppedUp } from '../tokens/step-up.ts';
import type { Subject } from '../tokens/subject.ts';
import { callerTraceId } from './caller-tokens.ts';
import { headerValues } from './headers.ts';
import type { RequestRecord } from './request-record.ts';
import type { Prepared, Routed } from './steps.ts';

export interface ObtainTokenOptions {
  readonly broker: Broker;
  readonly observer: ProxyObserver;
  readonly clock: Clock;
}

/** The session of a request: its subject, narrowed by the session id that the client sent. */
export function sessionOf({ request, unattended }: Routed, subject: Subject | undefined, actor?: Actor): Session {
  const ids = headerValues(request.incoming.rawHeaders, request.active.config.session.header);
  return { subject, id: ids.length === 0 ? undefined : ids.join(','), unattended, actor };
}

/**
 * Obtains the issued token of a session for a route: synchronously from the cache, or by an exchange. Undefined on a route
 * that needs none.
 * @throws {CambistError} everything that an exchange throws
 */
export function obtainToken(
  { request, route }: Routed,
  session: Session,
  { broker, clock, observer }: ObtainTokenOptions,
): IssuedToken | undefined | Promise<IssuedToken> {
  const { record } = request;
  const lookup = broker.lookUp(route, session, () => causeOf(record));
  record.cacheResult = lookup.result;
  const lacksCaller = session.subject === undefined && route.credential.kind === 'exchange';
  // Counted once, because a retry looks up a token again.
  if (lacksCaller && lookup.result !== 'bypass' && !record.ranWithoutCaller) {
    record.ranWithoutCaller = true;
    observer.ownTokenUsed(route);
  }
  switch (lookup.result) {
    case 'bypass':
      return route.credential.kind === 'secret' ? obtainSecret(route, session) : undefined;
    case 'hit':
      return lookup.token;
    case 'negative':
      throw lookup.error;
    case 'joined':
      return timed(record, lookup.pending, clock);
    case 'miss':
      return timed(record, lookup.pending, clock, lookup.settled);
  }
}

/**
 * Obtains a token with further scopes: by an exchange, or from another request of the session that needed them first.
 * @returns undefined where the route may not have these scopes, the token has them, or the server refused them a moment ago
 */
export function obtainScopes(
  { request, route, session }: Prepared,
  token: IssuedToken,
  scopes: readonly string[],
  { broker, clock }: ObtainTokenOptions,
): Promise<SteppedUp> | undefined {
  const { record } = request;
  const pending = broker.stepUp(route, session, token, scopes, () => causeOf(record));
  return pending && timed(record, pending, clock);
}

/**
 * Adds a wait for a token to the request's record. A request may wait again for a retry.
 * @param settled returns the result of the lookup once `pending` is settled
 */
async function timed<Token>(
  record: RequestRecord,
  pending: Promise<Token>,
  clock: Clock,
  settled?: () => CacheResult,
): Promise<Token> {
  const startedMs = clock.monotonicMs();
  try {
    return await pending;
  } finally {
    record.exchangeMs = (record.exchangeMs ?? 0) + clock.monotonicMs() - startedMs;
    if (settled !== undefined) record.cacheResult = settled();
  }
}

/** The request that causes an exchange, for the log and the trace. */
function causeOf({ id, span, incoming, active }: RequestRecord): Cause {
  const traceId = span?.traceId ?? callerTraceId(incoming.rawHeaders, active.credentialHeaders);
  return { peer: incoming.socket.remoteAddress, requestId: id, traceId, span };
}

/** Is the issued token made from the caller's own token, which another sign-in can replace? */
export function isMadeFromCallers({ route, session }: Pick<Prepared, 'route' | 'session'>): boolean {
  const { credential, subjectToken } = route;
  return credential.kind === 'exchange' && session.subject !== undefined && subjectToken.own === undefined;
}
