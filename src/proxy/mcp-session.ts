import type { Route } from '../config/route.ts';
import type { Broker } from '../tokens/broker.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { Prepared } from './steps.ts';

/**
 * Tells the broker of a response that opens or ends an MCP session.
 * @param header returns the value of a response header, by lower-case name
 */
export function followSession(
  prepared: Prepared,
  token: IssuedToken,
  status: number,
  header: (name: string) => string | undefined,
  broker: Broker,
): void {
  const { request, route, session } = prepared;
  const { method } = request.incoming;
  const isSuccess = status >= 200 && status < 300;
  if (session.id === undefined) {
    const opened = method === 'POST' && isSuccess ? header(request.active.config.session.header) : undefined;
    if (opened !== undefined) broker.openSession(route, session, opened, token);
  } else if (method === 'DELETE' && isSuccess) {
    endSession(prepared, 'client', broker);
  } else if (status === 404) {
    endSession(prepared, 'upstream', broker);
  }
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
  const party = session.unattended ?? actsAs(route);
  const other = request.active.table
    .candidates(target)
    .find((each) => [actsAs(each), each.unattended ?? party].some((one) => one !== party));
  if (other === undefined) return;
  request.record.diagnosis = {
    finding: 'session_unknown',
    cause: `the backend does not know the session: it expired, or the session belongs to the other credential of route "${other.name}"`,
    fix: 'if this follows each new session, the server binds a session to the credential that opened it: send all its messages by one route without unattended, or make the server stateless',
  };
}

/** The party whose token a route sends. */
function actsAs({ credential }: Route): string {
  return credential.kind === 'exchange' ? credential.onMissingSubject : credential.kind;
}
