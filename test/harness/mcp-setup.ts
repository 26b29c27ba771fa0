import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import {
  type RunningAuthorizationServer,
  type SubjectTokenFields,
  startAuthorizationServer,
} from './authorization-server.ts';
import { type CambistProcess, type Launch, startCambist } from './cambist-process.ts';
import { keepParts } from './keep-parts.ts';
import { createLeakWatch, type LeakWatch } from './leaks.ts';
import { type McpBackend, startMcpBackend } from './mcp-backend.ts';
import type { AuthorizationServerSettings } from './token-grants.ts';

export type RouteName = 'github' | 'docs';

export type McpSetupConfig = Readonly<Record<string, unknown>>;

export interface McpSetupOptions {
  /** Changes the default config. */
  change?: (config: McpSetupConfig, directory: string) => McpSetupConfig;
  settings?: Partial<AuthorizationServerSettings>;
  files?: Readonly<Record<string, string>>;
  env?: Readonly<Record<string, string>>;
  launch?: Launch;
}

export interface McpSetup {
  authorizationServer: RunningAuthorizationServer;
  backends: Record<RouteName, McpBackend>;
  cambist: CambistProcess;
  /** Watches for the client secret and all subject tokens. */
  leaks: LeakWatch;
  /** The URL of a backend through cambist. */
  url(route: RouteName): string;
  /** Issues a caller's token. Its audiences are the agent and cambist, so the backends refuse it. */
  subjectToken(fields?: Partial<SubjectTokenFields>): Promise<string>;
  close(): Promise<void>;
}

export const CLIENT_ID = 'cambist';
const SUBJECT_AUDIENCE = ['my-agent', CLIENT_ID];
export const SCOPES: Record<RouteName, string[]> = { github: ['repo:read', 'issues:read'], docs: ['docs:read'] };

/** Starts an authorization server, two MCP backends that accept only tokens issued for them, and cambist. */
export async function startMcpSetup(options: McpSetupOptions = {}): Promise<McpSetup> {
  const { change = (config) => config, settings, files = {}, env, launch } = options;
  const clientSecret = randomBytes(24).toString('base64url');
  const leaks = createLeakWatch();
  leaks.remember(clientSecret);
  const { keep, close } = keepParts();
  try {
    const authorizationServer = keep(
      await startAuthorizationServer({
        clients: { [CLIENT_ID]: { method: 'client_secret_basic', secret: clientSecret } },
        ...(settings === undefined ? {} : { settings }),
      }),
    );
    const backends = {
      github: keep(await startBackend('github', authorizationServer)),
      docs: keep(await startBackend('docs', authorizationServer)),
    };
    const cambist = keep(
      await startCambist({
        config: (directory) => change(mcpSetupConfig(directory, authorizationServer, backends), directory),
        files: { 'client-secret': clientSecret, ...files },
        ...(env === undefined ? {} : { env }),
        ...(launch === undefined ? {} : { launch }),
      }),
    );
    await cambist.ready();
    return {
      authorizationServer,
      backends,
      cambist,
      leaks,
      url: (route) => `${cambist.url}/${route}`,
      subjectToken: async (fields = {}) => {
        const token = await authorizationServer.issueSubjectToken({
          sub: 'alice',
          audience: SUBJECT_AUDIENCE,
          ...fields,
        });
        leaks.remember(token);
        return token;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startBackend(name: RouteName, server: RunningAuthorizationServer): Promise<McpBackend> {
  const backend = await startMcpBackend({ name, issuer: server.issuer, jwksUri: server.jwksUri });
  server.resources.set(backend.resource, { scopes: SCOPES[name], audience: name });
  return backend;
}

function mcpSetupConfig(
  directory: string,
  authorizationServer: RunningAuthorizationServer,
  backends: Record<RouteName, McpBackend>,
): McpSetupConfig {
  return {
    authorization_servers: {
      local: {
        issuer: authorizationServer.issuer,
        client_id: CLIENT_ID,
        client_auth: { method: 'client_secret_basic', client_secret: { file: join(directory, 'client-secret') } },
      },
    },
    routes: Object.values(backends).map(({ name, url }) => ({
      name,
      match: { path: `/${name}` },
      upstream: url,
    })),
  };
}
