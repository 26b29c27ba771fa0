import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
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
  /** What a token's `aud` has to name; the backend's own URL by default. */
  resource?: string;
}

/** One HTTP request as it arrived. */
export interface BackendRequest {
  method: string;
  url: string;
  /** Names and values in turn, as they stood on the wire. */
  rawHeaders: string[];
  /** Every value of every `Authorization` header. */
  authorization: string[];
  /** Of the bearer, where it was accepted. */
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
  /** From now on requests are answered 401 while the predicate says so. */
  refuse(predicate: (claims: JWTPayload) => boolean): void;
  close(): Promise<void>;
}

type Verify = (request: IncomingMessage) => Promise<JWTPayload | undefined>;

interface Session {
  server: McpServer;
  transport: StreamableHTTPServerTransport;
}

/** An MCP server that takes no token but one made for it: signature, issuer, expiry and audience are verified. */
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

async function serveMcp(
  name: string,
  sessions: Map<string, Session>,
  claims: JWTPayload,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const sessionId = request.headers['mcp-session-id'];
  const authorized = Object.assign(request, {
    auth: { token: '', clientId: String(claims.client_id), scopes: [], extra: { claims } },
  });
  if (typeof sessionId === 'string') {
    const session = sessions.get(sessionId);
    if (session === undefined) {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end('{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}');
      return;
    }
    return session.transport.handleRequest(authorized, response);
  }
  // Without a session the transport answers all but `initialize` with 400 by itself.
  const server = createToolServer(name);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => void sessions.set(id, { server, transport }),
    onsessionclosed: (id) => void sessions.delete(id),
  });
  // The SDK's classes and its interface disagree on optional properties under exactOptionalPropertyTypes.
  await server.connect(transport as Transport);
  await transport.handleRequest(authorized, response);
}

function createToolServer(name: string): McpServer {
  const server = new McpServer({ name, version: '1.0.0' }, { capabilities: { logging: {} } });
  const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });
  server.registerTool(
    'whoami',
    { description: 'Says what the token that arrived here claims.' },
    ({ authInfo }: { authInfo?: { extra?: Record<string, unknown> } }) => {
      const { sub, aud, act, scope } = (authInfo?.extra?.claims ?? {}) as JWTPayload;
      return text(JSON.stringify({ server: name, sub, aud, act, scope }));
    },
  );
  server.registerTool('echo', { description: 'Says it back.', inputSchema: { message: z.string() } }, ({ message }) =>
    text(message),
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
