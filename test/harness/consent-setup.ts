import { decodeJwt } from 'jose';
import { type ConsentSite, startConsentSite } from './consent-site.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from './fake-authorization-server.ts';
import type { FakeSetupConfig } from './fake-setup.ts';
import { type McpFixture, startMcpFixture } from './mcp-fixture/server.ts';

/** An authorization server that wants users to consent first, the site where they do, and an MCP server. */
export interface ConsentSetup {
  readonly server: FakeAuthorizationServer;
  readonly site: ConsentSite;
  readonly fixture: McpFixture;
  /** A config with one route for connecting and listing, which needs no user, and one for calls. */
  readonly config: FakeSetupConfig;
  close(): Promise<void>;
}

export async function startConsentSetup(): Promise<ConsentSetup> {
  const server = await startFakeAuthorizationServer();
  const site = await startConsentSite();
  const fixture = await startMcpFixture(server);
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
    async close() {
      await fixture.close();
      await site.close();
      await server.close();
    },
  };
}
