import type { TestContext } from 'node:test';
import { type RunningApp, startTestApp, type WrittenConfig } from './app.ts';
import { respond, startFakeUpstream } from './fake-upstream.ts';
import { type McpBackend, startMcpBackend } from './mcp-fixture/server.ts';
import { type SignInServer, startSignInServer } from './sign-in-server.ts';

/** The tools for whose calls cambist or the backend refuses the request. */
export const REFUSALS = {
  /** 401 `ERR_SUBJECT_TOKEN_INVALID`: the authorization server refuses the caller's token. */
  signed_out: { error: 'invalid_grant' },
  /** 403 `ERR_EXCHANGE_REFUSED` */
  forbidden: { error: 'invalid_target' },
} as const;

/** The scopes that cambist tells clients to request. */
export const SCOPE = 'openid agent';

/** The scope that the tool `scoped` wants. It exists at the backend alone. */
export const BACKEND_SCOPE = 'repo:write';

export interface RefusingSetup {
  readonly app: RunningApp;
  readonly server: SignInServer;
  readonly fixture: McpBackend;
  /** The current config, for tests that change and reload it. */
  readonly config: WrittenConfig;
  /** The MCP endpoint through cambist. */
  readonly url: string;
}

/**
 * cambist between a server where users sign in and an MCP server. Calls of some tools fail: those of `REFUSALS`, `unreachable`
 * by 502 `ERR_UPSTREAM_UNREACHABLE`, and `scoped` by a 403 of the backend that asks for a scope.
 */
export async function startRefusingSetup(t: TestContext): Promise<RefusingSetup> {
  const server = await startSignInServer(t);
  const fixture = await startMcpBackend(t, { issuer: server.issuer, jwksUri: server.jwksUri });
  const scoped = await startFakeUpstream(
    t,
    respond(403, 'the backend wants more scopes', {
      'www-authenticate': `Bearer error="insufficient_scope", scope="${BACKEND_SCOPE}"`,
    }),
  );
  server.exchange = (form) => {
    const refusal = Object.entries(REFUSALS).find(([tool]) => form.get('resource') === `urn:test:${tool}`);
    return refusal === undefined ? { kind: 'issue' } : { kind: 'response', status: 400, body: refusal[1] };
  };
  const routeOf = (tool: string, upstream: string) => ({
    name: tool.replace('_', '-'),
    match: { path: '/mcp', mcp_method: 'tools/call', mcp_name: tool },
    upstream,
    resource: `urn:test:${tool}`,
  });
  const config = {
    authorization_servers: {
      local: { issuer: server.issuer, client_id: 'cambist', client_auth: { method: 'none' } },
    },
    defaults: { subject_token: { scope: SCOPE } },
    routes: [
      { name: 'tools', match: { path: '/mcp' }, upstream: fixture.url },
      ...Object.keys(REFUSALS).map((tool) => routeOf(tool, fixture.url)),
      routeOf('unreachable', 'http://127.0.0.1:1/mcp'),
      routeOf('scoped', `${scoped.url}/mcp`),
    ],
  };
  const app = await startTestApp(t, config);
  return { app, server, fixture, config, url: `${app.url}/mcp` };
}
