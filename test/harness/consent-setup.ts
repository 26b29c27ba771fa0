import { decodeJwt } from 'jose';
import { type ConsentSite, startConsentSite } from './consent-site.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from './fake-authorization-server.ts';
import type { FakeSetupConfig } from './fake-setup.ts';
import type { Lifetime } from './lifetime.ts';
import { type McpBackend, startMcpBackend } from './mcp-fixture/server.ts';

/** An authorization server that wants users to consent first, the site where they do, and an MCP server. */
export interface ConsentSetup {
  readonly server: FakeAuthorizationServer;
  readonly site: ConsentSite;
  readonly fixture: McpBackend;
  /** A config with one route for connecting and listing, which needs no user, and one for calls. */
  readonly config: FakeSetupConfig;
}

export async function startConsentSetup(t: Lifetime): Promise<ConsentSetup> {
  const server = await startFakeAuthorizationServer(t);
  const site = await startConsentSite();
  t.after(site.close);
  const fixture = await startMcpBackend(t, { issuer: server.issuer, jwksUri: server.jwksUri });
  server.behaviour = ({ form }) => {
    const subject = form.get('subject_token');
    const user = subject === null ? undefined : (decodeJwt(subject).sub ?? '');
    if (user === undefined || site.hasConsented(user)) return { kind: 'issue' };
    return {
      kind: 'response',
      status: 400,
      body: { error: 'interaction_required', interaction_uri: site.urlFor(user) },
    };
  };
  const config = {
    interaction: { hosts: [site.host] },
    authorization_servers: {
      local: {
        token_endpoint: server.tokenEndpoint,
        client_id: 'cambist',
        client_auth: { method: 'none' },
      },
    },
    routes: [
      { name: 'list', match: { path: '/mcp' }, upstream: fixture.url, credential: 'client_credentials' },
      { name: 'call', match: { path: '/mcp', mcp_method: 'tools/call' }, upstream: fixture.url },
    ],
  };
  return {
    server,
    site,
    fixture,
    config,
  };
}
