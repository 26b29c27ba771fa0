import type { Route } from '../config/config.ts';
import type { Broker } from '../tokens/broker.ts';
import type { IssuedToken } from '../tokens/issued.ts';
import type { Admitted } from './steps.ts';

/**
 * Tells the broker of a response that opens or ends an MCP session.
 * @param header returns the value of a response header, by lower-case name
 */
export function followSession(
  admitted: Admitted,
  token: IssuedToken,
  status: number,
  header: (name: string) => string | undefined,
  broker: Broker,
): void {
  const { request, route, session } = admitted;
  const { method } = request.incoming;
  const isSuccess = status >= 200 && status < 300;
  if (session.id === undefined) {
    const opened = method === 'POST' && isSuccess ? header(request.active.config.session.header) : undefined;
    if (opened !== undefined) broker.openSession(route, session, opened, token);
  } else if (status === 404 || (method === 'DELETE' && isSuccess)) {
    const routes = session.subject === undefined ? [route] : routesOfBackend(admitted);
    for (const ended of routes) broker.endSession(ended, session, isSuccess ? 'client' : 'upstream');
  }
}

/** The routes that share the backend's sessions: this one, and those that other messages to the same target would take. */
function routesOfBackend({ request, target, route }: Admitted): readonly Route[] {
  const others = request.active.table.candidates(target);
  return [route, ...others.filter((other) => other !== route && other.credential.kind === 'exchange')];
}
