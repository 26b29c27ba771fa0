import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { CacheResult, Cause } from '../observability/token-observer.ts';
import type { Broker, SteppedUp } from '../tokens/broker.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { callerTraceId } from './caller-tokens.ts';
import type { Rewriter } from './endpoint-event.ts';
import { headerValues } from './headers.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestRecord } from './request-record.ts';
import type { Prepared, Routed } from './steps.ts';

export interface ObtainTokenOptions {
  readonly broker: Broker;
  readonly observer: ProxyObserver;
  readonly clock: Clock;
}

/** The session of a request: its subject, narrowed by the session id that the client sent. */
export function sessionOf({ incoming, active }: ProxyRequest, subject: Subject | undefined): Session {
  const ids = headerValues(incoming.rawHeaders, active.config.session.header);
  return { subject, id: ids.length === 0 ? undefined : ids.join(',') };
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
  // Counted once, because a retry looks up a token again.
  if (session.subject === undefined && route.credential.kind === 'exchange' && !record.hasOwnToken) {
    record.hasOwnToken = true;
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
 * Obtains a token with further scopes, by an exchange.
 * @returns undefined where the route may not have these scopes, or the token has them
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

/**
 * Tells the broker of a response that opens or ends an MCP session.
 * @param header returns the value of a response header, by lower-case name
 * @returns a reader of the body, where the body decides
 */
export function followSession(
  prepared: Prepared,
  token: IssuedToken,
  status: number,
  header: (name: string) => string | undefined,
  broker: Broker,
): Rewriter | undefined {
  const { request, route, session } = prepared;
  const { method } = request.incoming;
  const isSuccess = status >= 200 && status < 300;
  if (session.id === undefined) {
    const opened = method === 'POST' && isSuccess ? header(request.active.config.session.header) : undefined;
    if (opened !== undefined) broker.openSession(route, session, opened, token);
  } else if (method === 'DELETE' && isSuccess) {
    endSession(prepared, 'client', broker);
  } else if (status === 404) {
    const ended = (): void => endSession(prepared, 'upstream', broker);
    if (isPlainJson(header)) return createUnknownMethodReader(ended);
    ended();
  }
  return undefined;
}

function isPlainJson(header: (name: string) => string | undefined): boolean {
  return /^application\/json\b/i.test(header('content-type') ?? '') && header('content-encoding') === undefined;
}

function endSession(prepared: Prepared, by: 'client' | 'upstream', broker: Broker): void {
  const { route, session } = prepared;
  const routes = session.subject === undefined ? [route] : routesOfBackend(prepared);
  for (const ended of routes) broker.endSession(ended, session, by);
}

/** The routes that share the backend's sessions: this one, and those that other messages to the same target would take. */
function routesOfBackend({ request, target, route }: Prepared): readonly Route[] {
  const others = request.active.table.candidates(target);
  return [route, ...others.filter((other) => other !== route && other.credential.kind === 'exchange')];
}

/**
 * Notes the probable cause of a 404 with a session. Some servers bind a session to the credential that opened it, and respond to any other
 * credential as if there were no session.
 * @see MCP "Security Best Practices", session hijacking
 */
export function noteLostSession({ request, target, route, session }: Prepared): void {
  if (session.id === undefined) return;
  const other = request.active.table.candidates(target).find((sibling) => actsAs(sibling) !== actsAs(route));
  if (other === undefined) return;
  request.record.diagnosis = {
    finding: 'session_unknown',
    cause: `the backend does not know the session: it expired, or the session belongs to the other credential of route "${other.name}"`,
    fix: 'if this follows each new session, the server binds a session to the credential that opened it: send all its messages by one route, or make the server stateless',
  };
}

/** The party whose token a route sends. */
function actsAs({ credential }: Route): string {
  return credential.kind === 'exchange' ? credential.onMissingSubject : credential.kind;
}

/** Is the issued token made from the caller's own token, which another sign-in can replace? */
export function isMadeFromCallers({ route, session }: Pick<Prepared, 'route' | 'session'>): boolean {
  const { credential, subjectToken } = route;
  return credential.kind === 'exchange' && session.subject !== undefined && subjectToken.file === undefined;
}

/** The JSON-RPC error code for a method that the server does not have. */
const METHOD_NOT_FOUND = -32601;

/** An error response of JSON-RPC has a code, a message and little data. */
const MAX_BYTES = 16 * 1024;

const NOTHING = Buffer.alloc(0);

/**
 * Passes the body of a 404 on unchanged, and reads what was not found: the session, or only the method of one request.
 * @param sessionEnded called at the end of the body, unless it is the JSON-RPC error of an unknown method
 * @see MCP 2026-07-28, Streamable HTTP: a method that the server lacks is 404 with -32601
 */
export function createUnknownMethodReader(sessionEnded: () => void): Rewriter {
  let chunks: Buffer[] = [];
  let bytes = 0;

  return {
    push(chunk) {
      bytes += chunk.length;
      if (bytes <= MAX_BYTES) chunks.push(chunk);
      else chunks = [];
      return chunk;
    },
    rest() {
      const error = parseJsonObject(Buffer.concat(chunks).toString('utf8'))?.error as { code?: unknown } | undefined;
      if (error?.code !== METHOD_NOT_FOUND) sessionEnded();
      return NOTHING;
    },
  };
}
