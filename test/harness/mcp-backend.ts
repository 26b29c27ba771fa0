import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { NodeMcpRequestHandler } from '@modelcontextprotocol/node';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';
import { z } from 'zod';
import { type HttpServerOptions, startHttpServer } from './http-server.ts';

export interface McpBackendOptions extends HttpServerOptions {
  name: string;
  issuer: string;
  jwksUri: string;
  /** The audience that tokens must have. The default is the backend's own URL. */
  resource?: string;
}

/** One received HTTP request. */
export interface BackendRequest {
  method: string;
  url: string;
  /** Alternating names and values, as received. */
  rawHeaders: string[];
  /** The values of all `Authorization` headers. */
  authorization: string[];
  /** The claims of the bearer token; undefined if it was refused. */
  claims: JWTPayload | undefined;
  status: number;
}

export interface McpBackend {
  name: string;
  /** The MCP endpoint. */
  url: string;
  resource: string;
  requests: BackendRequest[];
  openSessions(): number;
  /** Responds with 401 to all later requests whose claims match the predicate. */
  refuse(predicate: (claims: JWTPayload) => boolean): void;
  close(): Promise<void>;
}

/** MCP revisions from this one on have no sessions. */
const STATELESS_REVISION = '2026-07-28';

type StatelessRequest = Parameters<NodeMcpRequestHandler>[0];
type StatelessResponse = Parameters<NodeMcpRequestHandler>[1];

type Verify = (request: IncomingMessage) => Promise<JWTPayload | undefined>;

interface Session {
  server: McpServer;
  transport: StreamableHTTPServerTransport;
}

/**
 * An MCP server that verifies signature, issuer, expiry and audience of each token. It supports MCP 2025-11-25, with sessions,
 * and MCP 2026-07-28, with the tool `whoami` only.
 */
export async function startMcpBackend(options: McpBackendOptions): Promise<McpBackend> {
  const requests: BackendRequest[] = [];
  const sessions = new Map<string, Session>();
  let refused: (claims: JWTPayload) => boolean = () => false;
  let verify: Verify = async () => undefined;
  const server = await startHttpServer((request, response) => {
    const received = receive(request, response);
    requests.push(received);
    verify(request)
      .then(async (claims) => {
        if (claims === undefined || refused(claims)) return refuseToken(response);
        received.claims = claims;
        const isStateless = request.headers['mcp-protocol-version'] === STATELESS_REVISION;
        if (isStateless) return serveStateless(options.name, claims, request, response);
        await serveMcp(options.name, sessions, claims, request, response);
      })
      .catch(() => response.headersSent || response.writeHead(500).end());
  }, options);
  const url = `${server.url}/mcp`;
  const resource = options.resource ?? url;
  verify = bearerVerifier(options, resource);
  return {
    name: options.name,
    url,
    resource,
    requests,
    openSessions: () => sessions.size,
    refuse: (predicate) => {
      refused = predicate;
    },
    close: async () => {
      for (const session of sessions.values()) await session.server.close();
      await server.close();
    },
  };
}

function receive(request: IncomingMessage, response: ServerResponse): BackendRequest {
  const received: BackendRequest = {
    method: request.method ?? '',
    url: request.url ?? '',
    rawHeaders: request.rawHeaders,
    authorization: request.headersDistinct.authorization ?? [],
    claims: undefined,
    status: 0,
  };
  response.once('close', () => {
    received.status = response.statusCode;
  });
  return received;
}

function bearerVerifier(options: McpBackendOptions, resource: string): Verify {
  const keys = createRemoteJWKSet(new URL(options.jwksUri));
  return async (request) => {
    const [value, ...others] = request.headersDistinct.authorization ?? [];
    const bearer = /^Bearer ([^\s]+)$/i.exec(value ?? '')?.[1];
    if (bearer === undefined || others.length > 0) return undefined;
    const expected = { issuer: options.issuer, audience: resource, requiredClaims: ['exp', 'sub'] };
    return jwtVerify(bearer, keys, expected).then(
      ({ payload }) => payload,
      () => undefined,
    );
  };
}

function refuseToken(response: ServerResponse): void {
  response.writeHead(401, {
    'content-type': 'application/json',
    'www-authenticate': 'Bearer error="invalid_token", error_description="token is not for this resource"',
  });
  response.end('{"error":"invalid_token"}');
}

function authorize(request: IncomingMessage, claims: JWTPayload) {
  return Object.assign(request, {
    auth: { token: '', clientId: String(claims.client_id), scopes: [], extra: { claims } },
  });
}

async function serveStateless(
  name: string,
  claims: JWTPayload,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // Loaded only here, because most tests use sessions.
  const { createStatelessHandler } = await import('./mcp-backend-stateless.ts');
  const handle = createStatelessHandler(name);
  // The types of the SDK and of Node differ under exactOptionalPropertyTypes.
  await handle(authorize(request, claims) as StatelessRequest, response as StatelessResponse);
}

async function serveMcp(
  name: string,
  sessions: Map<string, Session>,
  claims: JWTPayload,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const sessionId = request.headers['mcp-session-id'];
  const authorized = authorize(request, claims);
  if (typeof sessionId === 'string') {
    const session = sessions.get(sessionId);
    if (session === undefined) {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end('{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}');
      return;
    }
    return session.transport.handleRequest(authorized, response);
  }
  // Without a session, the transport accepts only `initialize` and responds with 400 to other requests.
  const server = createToolServer(name);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => void sessions.set(id, { server, transport }),
    onsessionclosed: (id) => void sessions.delete(id),
  });
  // The SDK's class does not match its interface under exactOptionalPropertyTypes.
  await server.connect(transport as Transport);
  await transport.handleRequest(authorized, response);
}

function createToolServer(name: string): McpServer {
  const server = new McpServer({ name, version: '1.0.0' }, { capabilities: { logging: {} } });
  const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });
  server.registerTool(
    'whoami',
    { description: 'Returns the claims of the received token.' },
    ({ authInfo }: { authInfo?: { extra?: Record<string, unknown> } }) => {
      const { sub, aud, act, scope } = (authInfo?.extra?.claims ?? {}) as JWTPayload;
      return text(JSON.stringify({ server: name, sub, aud, act, scope }));
    },
  );
  server.registerTool(
    'echo',
    { description: 'Returns the message.', inputSchema: { message: z.string() } },
    ({ message }) => text(message),
  );
  server.registerTool(
    'count',
    {
      description: 'Counts, with a progress notification for each step.',
      inputSchema: { to: z.number().int().positive(), delayMs: z.number().nonnegative().default(10) },
    },
    async ({ to, delayMs }, { _meta, sendNotification }) => {
      for (let progress = 1; progress <= to; progress += 1) {
        const progressToken = _meta?.progressToken;
        if (progressToken !== undefined) {
          await sendNotification({
            method: 'notifications/progress',
            params: { progressToken, progress, total: to },
          });
        }
        await delay(delayMs);
      }
      return text(`counted to ${to}`);
    },
  );
  server.registerTool(
    'announce',
    { description: "Sends a log message on the session's own stream.", inputSchema: { message: z.string() } },
    async ({ message }) => {
      await server.sendLoggingMessage({ level: 'info', data: message });
      return text('announced');
    },
  );
  return server;
}
