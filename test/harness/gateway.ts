import type { OutgoingHttpHeaders } from 'node:http';
import type { TestContext } from 'node:test';
import { routeTo, startTestApp, type WrittenConfig } from './app.ts';
import {
  type FakeAuthorizationServer,
  type MintFields,
  startFakeAuthorizationServer,
  TOKEN_TIMEOUT,
} from './fake-authorization-server.ts';
import { echo, type FakeUpstream, startFakeUpstream, type UpstreamHandler } from './fake-upstream.ts';
import { type CallOptions, call, open } from './http-call.ts';
import { temporaryFolder, writerInto } from './lifetime.ts';

/** A public client of a fake authorization server. */
export function clientOf({ tokenEndpoint }: FakeAuthorizationServer) {
  return {
    token_endpoint: tokenEndpoint,
    client_id: 'cambist',
    client_auth: { method: 'none' },
    timeout: TOKEN_TIMEOUT,
  };
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>;

export interface GatewayConfig {
  [key: string]: unknown;
  authorization_servers: Record<string, Record<string, unknown>>;
  routes: Record<string, unknown>[];
}

export interface GatewayOptions {
  /** The default is a new one. */
  readonly authorizationServer?: FakeAuthorizationServer;
  readonly handler?: UpstreamHandler;
  /** Overrides keys of the route `github` (path `/github`, credential `exchange`). */
  readonly route?: Record<string, unknown>;
  /** Overrides keys of the top level. */
  readonly top?: WrittenConfig;
  /** Routes after the route `github`. */
  readonly moreRoutes?: Record<string, unknown>[];
}

export async function startGateway(t: TestContext, options: GatewayOptions = {}) {
  const authorizationServer = options.authorizationServer ?? (await startFakeAuthorizationServer(t));
  const upstream = await startFakeUpstream(t, options.handler ?? echo);
  const route = routeTo('github', `${upstream.url}/mcp`, options.route);
  const config: GatewayConfig = {
    authorization_servers: { local: clientOf(authorizationServer) },
    routes: [route, ...(options.moreRoutes ?? [])],
    ...options.top,
  };
  const app = await startTestApp(t, config);
  const subjectToken = await authorizationServer.mint();
  const authorization = `Bearer ${subjectToken}`;
  /** Sends a request with the caller's token. */
  const send = (headers: OutgoingHttpHeaders = {}, body?: CallOptions['body'], path = '/github') =>
    call(app.url + path, { headers: { authorization, ...headers }, ...(body !== undefined && { body }) });
  /** The token and its header are a caller's. A test may change the config, and reload it. */
  return { app, authorizationServer, upstream, subjectToken, authorization, config, send };
}

/** The secret of a data plane. */
export const DECISION_SECRET = 'a-secret-of-the-data-plane';
export const AS_DATA_PLANE = { 'x-cambist-decision-secret': DECISION_SECRET };

interface DecisionOptions extends GatewayOptions {
  /** Overrides keys of `decisions`. */
  readonly decisions?: Record<string, unknown>;
}

/** cambist as the decision service of a data plane, which has the secret. */
export function startDecisionGateway(
  t: TestContext,
  by: 'http' | 'grpc',
  options: DecisionOptions = {},
): Promise<Gateway> {
  const { decisions = {}, top, ...others } = options;
  const secret = writerInto(temporaryFolder(t))('secret', DECISION_SECRET);
  return startGateway(t, {
    ...others,
    top: { decisions: { [by]: { listen: '127.0.0.1:0', secret }, ...decisions }, ...top },
  });
}

/** cambist in front of one upstream, with a route that sends no token. */
export async function startPlainGateway(t: TestContext, options: GatewayOptions = {}) {
  const upstream = await startFakeUpstream(t, options.handler ?? echo);
  const app = await startTestApp(t, {
    routes: [
      routeTo('plain', `${upstream.url}/mcp`, { credential: 'none', ...options.route }),
      ...(options.moreRoutes ?? []),
    ],
    ...options.top,
  });
  return { app, upstream };
}

/** cambist on both sides of an agent: callers reach it, and it reaches its backend, through cambist. */
export type InboundGateway = Awaited<ReturnType<typeof startInboundGateway>>;

interface InboundGatewayOptions {
  readonly authorizationServer?: FakeAuthorizationServer;
  readonly agent?: UpstreamHandler;
  readonly backend?: UpstreamHandler;
  /** Overrides keys of `inbound`. */
  readonly inbound?: Record<string, unknown>;
  /** Overrides keys of the route `github`. */
  readonly route?: Record<string, unknown>;
  readonly moreRoutes?: (backend: FakeUpstream) => Record<string, unknown>[];
  readonly top?: WrittenConfig;
}

/** The audience of callers' tokens. */
export const AGENT = 'agent';

export async function startInboundGateway(t: TestContext, options: InboundGatewayOptions = {}) {
  const authorizationServer = options.authorizationServer ?? (await startFakeAuthorizationServer(t));
  const agent = await startFakeUpstream(t, options.agent ?? echoOrStayOpen);
  const backend = await startFakeUpstream(t, options.backend ?? echo);
  /** For tests that change and reload it. */
  const config: Record<string, unknown> & { inbound: Record<string, unknown> } = {
    authorization_servers: { local: clientOf(authorizationServer) },
    routes: [routeTo('github', `${backend.url}/mcp`, options.route), ...(options.moreRoutes?.(backend) ?? [])],
    ...options.top,
    inbound: {
      listen: '127.0.0.1:0',
      agent: agent.url,
      verify: { issuer: authorizationServer.issuer, audience: AGENT },
      ...options.inbound,
    },
  };
  const app = await startTestApp(t, config);
  return {
    app,
    url: app.inbound ?? '',
    authorizationServer,
    agent,
    backend,
    /** Mints a token for the agent. */
    mint: (fields?: MintFields) => authorizationServer.mint({ audience: AGENT, ...fields }),
    config,
  };
}

const HELD = '/held';

/** Echoes, and leaves requests of `openHandle` open. */
const echoOrStayOpen: UpstreamHandler = (request, response) => {
  if (request.url !== HELD) return echo(request, response);
  response.writeHead(200).flushHeaders();
};

/** Sends a request of a caller that the agent leaves open. */
export async function openHandle(t: TestContext, gateway: InboundGateway, fields?: MintFields) {
  const token = await gateway.mint(fields);
  return openHandleOf(t, gateway, token);
}

/** The same for a token. The request is in flight until `close` or the end of the test. `inBaggage` is the agent's handle in baggage, or empty. */
export async function openHandleOf(t: TestContext, gateway: Pick<InboundGateway, 'url' | 'agent'>, token: string) {
  const response = await open(`${gateway.url}${HELD}`, { headers: { authorization: `Bearer ${token}` } });
  const close = () => void response.destroy();
  t.after(close);
  const [, inBaggage = ''] = /^cambist=([^,]*)/.exec(String(gateway.agent.requests.at(-1)?.headers.baggage)) ?? [];
  return { handle: lastHandle(gateway), inBaggage, close };
}

/** The handle that the agent got with its last request. */
export function lastHandle({ agent }: Pick<InboundGateway, 'agent'>): string {
  const [authorization = ''] = agent.requests.at(-1)?.authorization ?? [];
  return authorization.replace('Bearer ', '');
}
