import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** Faulty behaviours of a server. */
export type Fault =
  /** Any response. An object is sent as JSON, a string unchanged. */
  | {
      kind: 'response';
      status: number;
      body?: unknown;
      headers?: OutgoingHttpHeaders;
      delayMs?: number;
      /** Delays the response until the promise settles. */
      until?: Promise<unknown>;
    }
  /** Accepts the request and never responds. */
  | { kind: 'hang' }
  /** Closes the connection without a response. */
  | { kind: 'reset' }
  /** 200 with JSON of at least this size. */
  | { kind: 'huge'; bytes: number }
  /** 200 with an endless body, one byte at a time. */
  | { kind: 'drip'; intervalMs: number };

export async function respondWithFault(fault: Fault, response: ServerResponse): Promise<void> {
  switch (fault.kind) {
    case 'response':
      await fault.until;
      if (fault.delayMs !== undefined) await delay(fault.delayMs);
      return sendResponse(response, fault.status, fault.body ?? '', fault.headers);
    case 'hang':
      return;
    case 'reset':
      response.destroy();
      return;
    case 'huge':
      return sendResponse(response, 200, { access_token: 'x'.repeat(fault.bytes), token_type: 'Bearer' });
    case 'drip':
      return drip(response, fault.intervalMs);
    default:
      fault satisfies never;
  }
}

export function sendResponse(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  if (response.destroyed) return;
  const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const contentType = typeof body === 'string' && body.startsWith('<') ? 'text/html' : 'application/json';
  response.writeHead(status, { 'content-type': contentType, ...headers });
  response.end(text);
}

function drip(response: ServerResponse, intervalMs: number): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write('{"access_token":"');
  const timer = setInterval(() => response.write('x'), intervalMs);
  response.once('close', () => clearInterval(timer));
}
