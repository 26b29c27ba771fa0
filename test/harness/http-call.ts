import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { type Agent, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { type RequestOptions, request as requestTls } from 'node:https';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { describeError, type ErrorCode } from '../../src/error-catalogue.ts';
import { CambistError, detailOf } from '../../src/errors.ts';
import { soon } from './eventually.ts';

export interface CallOptions extends Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'minVersion' | 'maxVersion'> {
  agent?: Agent;
  readonly method?: string;
  /** An array of alternating names and values keeps duplicates and letter case. */
  readonly headers?: OutgoingHttpHeaders | readonly string[];
  readonly body?: string | Buffer;
  readonly signal?: AbortSignal;
  /** Replaces the URL's path, and is sent unchanged. */
  readonly path?: string;
  readonly socketPath?: string;
  /** Loopback address to connect from. The default is 127.0.0.1. */
  readonly localAddress?: string;
}

export type CallResponse = Awaited<ReturnType<typeof call>>;

/** Sends one HTTP request on a new connection, and reads the complete response. Adds no header but `Host`. */
export async function call(url: string, options: CallOptions = {}) {
  const response = await open(url, options);
  const body = await buffer(response);
  const { statusCode = 0, headers, rawHeaders } = response;
  return { status: statusCode, headers, rawHeaders, body, text: body.toString('utf8') };
}

/** Sends one HTTP request. Resolves with the response headers; the test reads the body. */
export function open(url: string, options: CallOptions = {}): Promise<IncomingMessage> {
  const { body, headers, method = body === undefined ? 'GET' : 'POST', ...rest } = options;
  return new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? requestTls : request;
    const sent = send(url, {
      agent: options.agent ?? false,
      method,
      ...rest,
      ...(headers !== undefined && { headers: withHost(headers, url) as OutgoingHttpHeaders }),
    });
    sent.once('response', resolve);
    sent.once('error', reject);
    sent.end(body);
  });
}

/** Node adds no `Host` to an array of headers. */
function withHost(headers: OutgoingHttpHeaders | readonly string[], url: string): unknown {
  if (!Array.isArray(headers)) return headers;
  const names = headers.filter((_, index) => index % 2 === 0).map((name: string) => name.toLowerCase());
  return names.includes('host') ? headers : ['Host', new URL(url).host, ...headers];
}

/** A TCP connection. */
export type RawConnection = ReturnType<typeof rawConnection>;

/** @param url of a TCP listener, or `unix:` and a path */
export async function connectRaw(url: string): Promise<RawConnection> {
  const { protocol, pathname, hostname, port } = new URL(url);
  const socket = protocol === 'unix:' ? connect(pathname) : connect(Number(port), hostname);
  const connection = rawConnection(socket);
  await once(socket, 'connect');
  return connection;
}

/** Sends bytes on a new connection. @returns everything received until the server closes it, which it must do soon */
export async function sendRaw(url: string, bytes: string): Promise<string> {
  return (await connectRaw(url)).ask(Buffer.from(bytes, 'latin1'));
}

/** Reads everything from a connection. */
export function rawConnection(socket: Socket) {
  let text = '';
  let isClosed = false;
  const changes = new EventEmitter();
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    changes.emit('change');
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    changes.emit('change');
  });
  const closed = async (): Promise<string> => {
    while (!isClosed) await once(changes, 'change');
    return text;
  };
  return {
    socket,
    send: (bytes: string | Buffer) => void socket.write(bytes),
    received: () => text,
    /** Waits for a text, and returns everything received. @throws Error if the connection closes first */
    async until(wanted: string | RegExp): Promise<string> {
      while (!(typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text))) {
        if (isClosed) throw new Error(`the connection closed before the expected text; received: ${text}`);
        await once(changes, 'change');
      }
      return text;
    },
    closed,
    /** Sends, and returns everything received until the connection closes. */
    ask: (bytes: string | Buffer) => {
      socket.write(bytes);
      return soon(`the end of the connection after ${bytes.toString('latin1').slice(0, 80)}`, closed());
    },
  };
}

/**
 * Checks that a response is exactly the problem of this code: status, media type and fields. The response to an MCP POST is a
 * JSON-RPC error, which has the problem as `data`.
 */
export function assertProblem(response: CallResponse, code: ErrorCode): void {
  const { status, title } = describeError(code);
  const { request_id: requestId, ...fields } = problemOf(response);
  assert.deepEqual(fields, { type: `urn:cambist:error:${code}`, title, status, detail: detailFor(code, fields), code });
  assert.equal(response.status, status);
  assert.equal(response.headers['x-request-id'], requestId);
  assert.match(String(requestId), /^[A-Za-z0-9._:-]{1,128}$/);
}

/** The members of the problem in a response, whichever form it has. */
export function problemOf({ headers, text }: Pick<CallResponse, 'headers' | 'text'>): Record<string, unknown> {
  if (headers['content-type'] === 'application/problem+json') return JSON.parse(text);
  assert.equal(headers['content-type'], 'application/json');
  const { jsonrpc, id, error, ...others } = JSON.parse(text);
  const number = error.data.code === 'ERR_HEADER_MISMATCH' ? -32020 : -32010;
  assert.deepEqual([jsonrpc, error.code, others], ['2.0', number, {}]);
  assert.ok(id === undefined || id === null || ['string', 'number'].includes(typeof id));
  assert.equal(error.message, `${error.data.code}: ${error.data.detail}`);
  return error.data;
}

/** The 401 for an expired token says so. */
function detailFor(code: ErrorCode, { detail }: Record<string, unknown>): string {
  const expired = detailOf(new CambistError(code, '', { expired: true }));
  return code === 'ERR_SUBJECT_TOKEN_INVALID' && detail === expired ? expired : describeError(code).detail;
}
