import type { TestContext } from 'node:test';
import { type RunningApp, startTestApp, type WrittenConfig } from './app.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from './fake-authorization-server.ts';
import { echo, type FakeUpstream, startFakeUpstream, type UpstreamHandler } from './fake-upstream.ts';

/** cambist between a fake authorization server and a fake upstream. */
export interface Gateway {
  readonly app: RunningApp;
  readonly authorizationServer: FakeAuthorizationServer;
  readonly upstream: FakeUpstream;
  /** A caller's token that cambist may exchange. */
  readonly subjectToken: string;
  /** The value of `Authorization` with this token. */
  readonly authorization: string;
  /** The current config, for tests that change and reload it. */
  readonly config: GatewayConfig;
}

export interface GatewayConfig {
  [key: string]: unknown;
  authorization_servers: Record<string, Record<string, unknown>>;
  routes: Record<string, unknown>[];
}

export interface GatewayOptions {
  readonly handler?: UpstreamHandler;
  /** Overrides keys of the route `github` (path `/github`, credential `exchange`). */
  readonly route?: Record<string, unknown>;
  /** Overrides keys of the top level. */
  readonly top?: WrittenConfig;
  /** Routes after the route `github`. */
  readonly moreRoutes?: Record<string, unknown>[];
}

/** Starts all three, and stops them after the test. */
export async function startGateway(t: TestContext, options: GatewayOptions = {}): Promise<Gateway> {
  const authorizationServer = await startFakeAuthorizationServer(t);
  const upstream = await startFakeUpstream(t, options.handler ?? echo);
  const route = { name: 'github', match: { path: '/github' }, upstream: `${upstream.url}/mcp`, ...options.route };
  const config: GatewayConfig = {
    authorization_servers: {
      local: {
        token_endpoint: authorizationServer.tokenEndpoint,
        client_id: 'cambist',
        client_auth: { method: 'none' },
      },
    },
    routes: [route, ...(options.moreRoutes ?? [])],
    ...options.top,
  };
  const app = await startTestApp(t, config);
  const subjectToken = await authorizationServer.mint();
  const authorization = `Bearer ${subjectToken}`;
  return { app, authorizationServer, upstream, subjectToken, authorization, config };
}

/** cambist in front of one upstream, with a route that sends no token. */
export async function startPlainGateway(t: TestContext, options: GatewayOptions = {}) {
  const upstream = await startFakeUpstream(t, options.handler ?? echo);
  const app = await startTestApp(t, {
    routes: [
      {
        name: 'plain',
        match: { path: '/plain' },
        upstream: `${upstream.url}/mcp`,
        credential: 'none',
        ...options.route,
      },
      ...(options.moreRoutes ?? []),
    ],
    ...options.top,
  });
  return { app, upstream };
}
