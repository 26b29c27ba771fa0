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
import { startHttpServer } from '../http-server.ts';
import { registerConversingTools } from './conversing-tools.ts';
import { registerInputTools, stateCodec } from './input-tools.ts';
import { registerPlainTools } from './plain-tools.ts';
import { registerPrompts } from './prompts.ts';
import { registerResources } from './resources.ts';
import { createSessions } from './sessions.ts';
import { type FixtureEvents, registerWatchTools } from './watch-tools.ts';

export interface McpFixtureOptions {
  issuer: string;
  jwksUri: string;
}

export interface McpFixture {
  /** The MCP endpoint, and the audience that tokens must have. */
  url: string;
  /** All requests with a valid token. */
  requests: { method: string; headers: IncomingMessage['headers']; gone: Promise<void> }[];
  /** The number of cancelled calls of `wait`. */
  cancellations(): number;
  sessionIds(): string[];
  loseSessions(): void;
  /** Notifies every subscribed client. */
  resourceUpdated(uri: string): void;
  close(): Promise<void>;
}

type StatelessRequest = Parameters<NodeMcpRequestHandler>[0];
type StatelessResponse = Parameters<NodeMcpRequestHandler>[1];

/**
 * A server of the SDK 2.x that supports all revisions and has everything that the conformance suite expects. It accepts only
 * tokens for itself. Clients can resume sessions.
 */
export async function startMcpFixture({ issuer, jwksUri }: McpFixtureOptions): Promise<McpFixture> {
  const requests: McpFixture['requests'] = [];
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
  const stateless = createMcpHandler(() => createServer(events));
  const handleStateless = toNodeHandler(stateless);
  const sessions = createSessions(() => createServer(events));
  const isLocalHost = localhostHostValidation();
  const isLocalOrigin = localhostOriginValidation();
  let gate = createBearerGate({ issuer, jwksUri, audience: '' });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isLocalHost(request, response) || !isLocalOrigin(request, response)) return;
    const claims = await gate(request, response);
    if (claims === undefined) return;
    const gone = new Promise<void>((resolve) => {
      response.once('close', () => response.writableFinished || resolve());
    });
    requests.push({ method: request.method ?? '', headers: request.headers, gone });
    const authorized = Object.assign(request, { auth: authInfo(claims) });
    const body = await json(request).catch(() => undefined);
    if (isLegacy(request, body)) await sessions.handle(authorized, response, body);
    else {
      // The types of the SDK and of Node differ under exactOptionalPropertyTypes.
      await handleStateless(authorized as StatelessRequest, response as StatelessResponse, body);
    }
  }

  const server = await startHttpServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  const url = `${server.url}/mcp`;
  gate = createBearerGate({ issuer, jwksUri, audience: url });
  return {
    url,
    requests,
    cancellations: () => cancellations,
    sessionIds: sessions.ids,
    loseSessions: sessions.lose,
    resourceUpdated: events.resourceUpdated,
    close: async () => {
      await sessions.close();
      await stateless.close();
      await server.close();
    },
  };
}

function createServer(events: FixtureEvents): McpServer {
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
  registerWatchTools(server, events);
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

function authInfo(claims: JWTPayload) {
  return { token: '', clientId: String(claims.client_id), scopes: [], extra: { ...claims } };
}
