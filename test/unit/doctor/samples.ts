import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import type { RecordedRequest } from '../../../src/doctor/recorded-request.ts';
import { configOf } from '../../harness/app.ts';

export const NOW_MS = Date.UTC(2026, 10, 25, 12);

/** An authorization server as resolved from the config. @param keys keys that differ from the default */
export function server(keys: Record<string, unknown> = {}): AuthorizationServer {
  const written = {
    issuer: 'https://idp.example.com/realms/agents',
    client_id: 'cambist',
    client_auth: { method: 'client_secret_basic', client_secret: { env: 'UNUSED' } },
    ...keys,
  };
  const route = { name: 'r', match: { path: '/' }, upstream: 'https://b.example.com/mcp', audience: 'b' };
  const [resolved] = configOf({ authorization_servers: { main: written }, routes: [route] }).authorizationServers;
  if (resolved === undefined) throw new Error('the config has no authorization server');
  return resolved;
}

/** A token request whose response arrives after half a second. */
export function response(
  status: number | undefined,
  body: unknown,
  fields: Partial<RecordedRequest> = {},
): RecordedRequest {
  return {
    method: 'POST',
    url: 'https://idp.example.com/token',
    form: new URLSearchParams(),
    sentAtMs: NOW_MS,
    respondedAtMs: NOW_MS + 500,
    status,
    date: undefined,
    text: typeof body === 'string' ? body : JSON.stringify(body),
    error: undefined,
    ...fields,
  };
}
