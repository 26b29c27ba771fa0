import type { IncomingHttpHeaders } from 'node:http';
import type { Route } from '../config/route.ts';
import { parseJsonObject } from '../tokens/token-text.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';
import type { Pool } from './check-context.ts';

export type ProbeTarget = Awaited<ReturnType<typeof probeTarget>>;

/** @param responseMs time for the response, in addition to that to connect */
export async function probeTarget(route: Route, pool: Pool, responseMs: number) {
  const { origin, path } = route.upstream;
  const peer = upstreamPeer(route);
  return { dispatcher: await pool(peer), origin, path: path || '/', connectMs: peer.connectMs, responseMs };
}

/** A request to a backend. It never carries more than the doctor gives it: no header of a caller. */
interface ProbeRequest {
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface ProbeResponse {
  readonly status: number;
  /** The value of a header, its lines joined by commas. */
  readonly header: (name: string) => string | undefined;
  readonly text: string;
}

export type McpMessage = ReturnType<typeof mcpMessage>;

/** An MCP request that every server of its protocol version understands. */
function mcpMessage(method: 'initialize' | 'server/discover', params: object, headers: Record<string, string> = {}) {
  return {
    method,
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  };
}

const CLIENT_INFO = { name: 'cambist-doctor', version: '1' };

/** Servers up to MCP 2025-11-25 expect this. */
export const INITIALIZE = mcpMessage('initialize', {
  protocolVersion: '2025-11-25',
  capabilities: {},
  clientInfo: CLIENT_INFO,
});

const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': CLIENT_INFO,
  'io.modelcontextprotocol/clientCapabilities': {},
};

/** Servers from MCP 2026-07-28 expect this. */
export const DISCOVER = mcpMessage(
  'server/discover',
  { _meta: META },
  { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'server/discover' },
);

/** Limit for a response body. Longer bodies are not MCP responses to these messages. */
const MAX_BODY_BYTES = 64 * 1024;

/**
 * Sends a request by `dispatch`, as the proxy does.
 * @throws the dispatcher's error, or a `TimeoutError`
 */
export function sendProbe(
  { dispatcher, origin, connectMs, responseMs }: ProbeTarget,
  { method, path, headers, body }: ProbeRequest,
): Promise<ProbeResponse> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let started: Omit<ProbeResponse, 'text'> | undefined;
    const finish = () => {
      if (started !== undefined) resolve({ ...started, text: Buffer.concat(chunks).toString('utf8') });
    };
    // The dispatcher does not report endless connecting.
    const connecting = AbortSignal.timeout(connectMs + responseMs);
    connecting.addEventListener('abort', () => reject(connecting.reason as Error), { once: true });
    dispatcher.dispatch(
      { origin, path, method, headers, body: body ?? null },
      {
        // The connection is established.
        onRequestStart(controller) {
          const waiting = AbortSignal.timeout(responseMs);
          waiting.addEventListener('abort', () => controller.abort(waiting.reason as Error), { once: true });
        },
        onResponseStart(_controller, status, received) {
          started = { status, header: (name) => headerOf(received, name) };
        },
        onResponseData(controller, chunk) {
          chunks.push(Buffer.from(chunk));
          size += chunk.length;
          if (size > MAX_BODY_BYTES || hasMessage(started, chunks)) controller.abort(new Error('enough was read'));
        },
        onResponseEnd: finish,
        onResponseError(_controller, error) {
          finish();
          reject(error);
        },
      },
    );
  });
}

/** The first data of a stream of server-sent events. Servers that can resume a stream begin it with an event that has none. */
const DATA = /^data:[ \t]*(\S.*)$/m;

/** Tells whether a stream of server-sent events contains its first message. The server may keep it open. */
function hasMessage(started: Omit<ProbeResponse, 'text'> | undefined, chunks: readonly Buffer[]): boolean {
  if (started?.header('content-type')?.startsWith('text/event-stream') !== true) return false;
  const text = Buffer.concat(chunks).toString('latin1');
  const data = DATA.exec(text);
  return data !== null && /\r?\n\r?\n/.test(text.slice(data.index));
}

function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** Tells whether the response contains a JSON-RPC result or error, as JSON or as a server-sent event. */
export function isJsonRpc({ text }: ProbeResponse): boolean {
  return parseJsonObject(DATA.exec(text)?.[1] ?? text)?.jsonrpc !== undefined;
}

/** Tells whether the response is a page for a browser: of a web server at this address, or the login page of a gateway. */
export function isWebPage({ header }: ProbeResponse): boolean {
  return /^(?:text\/html|application\/xhtml\+xml)\b/i.test(header('content-type') ?? '');
}

/** Sends an MCP message. Ends the session that it may open. @param authorization headers that carry a token and its proof */
export async function sendMessage(
  target: ProbeTarget,
  { headers, body }: McpMessage,
  authorization: Readonly<Record<string, string>> = {},
): Promise<ProbeResponse> {
  const { path } = target;
  const response = await sendProbe(target, { method: 'POST', path, headers: { ...headers, ...authorization }, body });
  const session = response.header('mcp-session-id');
  if (session !== undefined) {
    // A proof of possession is valid for one request, so a bound token cannot end the session.
    const end = { method: 'DELETE', path, headers: { ...authorization, 'mcp-session-id': session } } as const;
    await sendProbe(target, end).catch(() => undefined);
  }
  return response;
}
