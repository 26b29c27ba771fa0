import { randomBytes } from 'node:crypto';
import type { AgentSdk } from './agent-client.ts';
import { type SubjectTokenFields, startAuthorizationServer } from './authorization-server.ts';
import { type Launch, startCambist } from './cambist-process.ts';
import { secretClient } from './fake-authorization-server.ts';
import { createLeakWatch } from './leaks.ts';
import { keepParts, type Lifetime } from './lifetime.ts';
import { startMcpBackend } from './mcp-fixture/server.ts';

export type RouteName = 'github' | 'docs';

export type McpSetupConfig = Readonly<Record<string, unknown>>;

export interface McpSetupOptions {
  /** Changes the default config. */
  change?: (config: McpSetupConfig, directory: string) => McpSetupConfig;
  files?: Readonly<Record<string, string>>;
  launch?: Launch;
}

export type McpSetup = Awaited<ReturnType<typeof startMcpSetup>>;

const CLIENT_ID = 'cambist';
const SCOPES: Record<RouteName, string[]> = { github: ['repo:read', 'issues:read'], docs: ['docs:read'] };

/** Starts an authorization server, two MCP backends that accept only tokens issued for them, and cambist. */
export async function startMcpSetup(t: Lifetime, options: McpSetupOptions = {}) {
  const { change = (config) => config, files = {}, launch } = options;
  const clientSecret = randomBytes(24).toString('base64url');
  const leaks = createLeakWatch();
  leaks.remember(clientSecret);
  const parts = keepParts();
  t.after(parts.close);
  const clients = { [CLIENT_ID]: { method: 'client_secret_basic' as const, secret: clientSecret } };
  const authorizationServer = parts.keep(await startAuthorizationServer({ clients }));
  const startBackend = async (name: RouteName) => {
    const backend = await startMcpBackend(parts, { ...authorizationServer, name });
    authorizationServer.resources.set(backend.resource, { scopes: SCOPES[name] });
    return backend;
  };
  const backends = { github: await startBackend('github'), docs: await startBackend('docs') };
  const configOf = (directory: string): McpSetupConfig => ({
    authorization_servers: { local: secretClient(authorizationServer, directory) },
    routes: Object.values(backends).map(({ name, url }) => ({ name, match: { path: `/${name}` }, upstream: url })),
  });
  const cambist = await startCambist(parts, {
    config: (directory) => change(configOf(directory), directory),
    files: { 'client-secret': clientSecret, ...files },
    ...(launch === undefined ? {} : { launch }),
  });
  await cambist.ready();
  /** The URL of a backend through cambist. */
  const url = (route: RouteName) => `${cambist.url}/${route}`;
  /** A caller's token. Its audiences are the agent and cambist, so the backends refuse it. */
  const subjectToken = async (fields: Partial<SubjectTokenFields> = {}) => {
    const audience = ['my-agent', CLIENT_ID];
    const token = await authorizationServer.issueSubjectToken({ sub: 'alice', audience, ...fields });
    leaks.remember(token);
    return token;
  };
  return {
    authorizationServer,
    backends,
    cambist,
    leaks,
    url,
    subjectToken,
    /** Connects as `alice`, or with the given token. */
    connect: async (sdk: AgentSdk, route: RouteName, token?: string) =>
      parts.keep(await sdk.connect(url(route), token ?? (await subjectToken()))),
  };
}
