import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import {
  localhostHostValidation,
  localhostOriginValidation,
  type NodeMcpRequestHandler,
  toNodeHandler,
} from '@modelcontextprotocol/node';
import { classifyInboundRequest, createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import type { JWTPayload } from 'jose';
import { createBearerGate } from '../bearer-gate.ts';
import { receiveRequest } from '../fake-upstream.ts';
import { type HttpServerOptions, startHttpServer } from '../http-server.ts';
import type { Lifetime } from '../lifetime.ts';
import { registerConversingTools, registerInputTools, registerPrompts, stateCodec } from './asking-tools.ts';
import { type FixtureEvents, registerPlainTools, registerResources, registerWatchTools } from './content.ts';
import { createSessions } from './sessions.ts';

export interface McpBackendOptions extends HttpServerOptions {
  issuer: string;
  jwksUri: string;
  name?: string;
  /** The audience that tokens must have. The default is the backend's own URL. */
  resource?: string;
  /** Refuses requests with a foreign `Host` or `Origin`. */
  checksHost?: boolean;
}

export type BackendRequest = ReturnType<typeof receive>;

export type McpBackend = Awaited<ReturnType<typeof startMcpBackend>>;

type StatelessRequest = Parameters<NodeMcpRequestHandler>[0];
type StatelessResponse = Parameters<NodeMcpRequestHandler>[1];

/**
 * A server of the SDK 2.x that supports all revisions and has everything that the conformance suite expects. It accepts only
 * tokens for itself: it verifies signature, issuer, expiry and audience. Clients can resume sessions.
 */
export async function startMcpBackend(t: Lifetime, options: McpBackendOptions) {
  const { issuer, jwksUri, name = 'backend', checksHost = false } = options;
  const requests: BackendRequest[] = [];
  let cancellations = 0;
  const events: FixtureEvents = {
    resourceUpdated: (uri) => {
      sessions.resourceUpdated(uri);
      stateless.notify.resourceUpdated(uri);
    },
    toolsChanged: () => stateless.notify.toolsChanged(),
    promptsChanged: () => stateless.notify.promptsChanged(),
    cancelled: () => {
      cancellations += 1;
    },
  };
  const stateless = createMcpHandler(() => createServer(name, events));
  const handleStateless = toNodeHandler(stateless);
  const sessions = createSessions(() => createServer(name, events));
  const isLocalHost = localhostHostValidation();
  const isLocalOrigin = localhostOriginValidation();
  let gate = createBearerGate({ issuer, jwksUri, audience: '' });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (checksHost && (!isLocalHost(request, response) || !isLocalOrigin(request, response))) return;
    const received = receive(request, response);
    requests.push(received);
    const claims = await gate(request, response);
    if (claims === undefined) return;
    received.claims = claims;
    const auth = { token: '', clientId: String(claims.client_id), scopes: [], extra: { ...claims } };
    const authorized = Object.assign(request, { auth });
    const body = await json(request).catch(() => undefined);
    if (isLegacy(request, body)) await sessions.handle(authorized, response, body);
    else {
      // The types of the SDK and of Node differ under exactOptionalPropertyTypes.
      await handleStateless(authorized as StatelessRequest, response as StatelessResponse, body);
    }
  }

  const server = await startHttpServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  }, options);
  const url = `${server.url}/mcp`;
  const resource = options.resource ?? url;
  gate = createBearerGate({ issuer, jwksUri, audience: resource });
  const close = async (): Promise<void> => {
    await sessions.close();
    await stateless.close();
    await server.close();
  };
  t.after(close);
  return {
    name,
    url,
    resource,
    requests,
    cancellations: () => cancellations,
    sessionIds: sessions.ids,
    loseSessions: sessions.lose,
    close,
  };
}

function receive(request: IncomingMessage, response: ServerResponse) {
  const received = {
    ...receiveRequest(request, response),
    /** The claims of the bearer token; undefined if it was refused. */
    claims: undefined as JWTPayload | undefined,
    status: 0,
  };
  response.once('close', () => {
    received.status = response.statusCode;
  });
  return received;
}

function createServer(name: string, events: FixtureEvents): McpServer {
  const server = new McpServer(
    { name: 'cambist-fixture', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: stateCodec.verify },
    },
  );
  registerPlainTools(server);
  registerConversingTools(server);
  registerInputTools(server);
  registerWatchTools(server, name, events);
  registerResources(server);
  registerPrompts(server);
  server.server.setRequestHandler('logging/setLevel', () => ({}));
  server.server.setRequestHandler('completion/complete', () => ({
    completion: { values: [], total: 0, hasMore: false },
  }));
  return server;
}

function isLegacy({ method = '', headers }: IncomingMessage, body: unknown): boolean {
  const { 'mcp-protocol-version': version, 'mcp-method': mcpMethod } = headers;
  const { kind } = classifyInboundRequest({
    httpMethod: method,
    body,
    ...(typeof version === 'string' && { protocolVersionHeader: version }),
    ...(typeof mcpMethod === 'string' && { mcpMethodHeader: mcpMethod }),
  });
  return kind === 'legacy';
}
