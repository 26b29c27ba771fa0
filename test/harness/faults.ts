import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** Ways in which a server can fail to answer as it should. */
export type Fault =
  /** Any answer at all; an object goes as JSON, a string as it stands. */
  | {
      kind: 'answer';
      status: number;
      body?: unknown;
      headers?: OutgoingHttpHeaders;
      delayMs?: number;
      /** Held back until this settles. */
      until?: Promise<unknown>;
    }
  /** Takes the request and never answers. */
  | { kind: 'hang' }
  /** Closes the connection without an answer. */
  | { kind: 'reset' }
  /** 200 and JSON of at least so many bytes. */
  | { kind: 'huge'; bytes: number }
  /** 200, and then a byte at a time without end. */
  | { kind: 'drip'; intervalMs: number };

export async function answerWithFault(fault: Fault, response: ServerResponse): Promise<void> {
  switch (fault.kind) {
    case 'answer':
      await fault.until;
      if (fault.delayMs !== undefined) await delay(fault.delayMs);
      return sendAnswer(response, fault.status, fault.body ?? '', fault.headers);
    case 'hang':
      return;
    case 'reset':
      response.destroy();
      return;
    case 'huge':
      return sendAnswer(response, 200, { access_token: 'x'.repeat(fault.bytes), token_type: 'Bearer' });
    case 'drip':
      return drip(response, fault.intervalMs);
    default:
      fault satisfies never;
  }
}

export function sendAnswer(
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
