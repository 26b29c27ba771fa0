import { type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';

export interface CallOptions {
  readonly method?: string;
  /** An array of names and values in turn keeps duplicates and letter case. */
  readonly headers?: OutgoingHttpHeaders | readonly string[];
  readonly body?: string | Buffer;
  readonly signal?: AbortSignal;
  /** In place of the URL's own path, sent as it stands. */
  readonly path?: string;
  readonly socketPath?: string;
  /** Address of loopback to connect from; by default 127.0.0.1. */
  readonly localAddress?: string;
}

export interface CallAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly text: string;
}

/** One HTTP request whose answer is read to its end; on a connection of its own, and nothing added but `Host`. */
export async function call(url: string, options: CallOptions = {}): Promise<CallAnswer> {
  const answer = await open(url, options);
  const body = await buffer(answer);
  const { statusCode = 0, headers, rawHeaders } = answer;
  return { status: statusCode, headers, rawHeaders, body, text: body.toString('utf8') };
}

/** One HTTP request; settles with the head of the answer, whose body is the test's to read. */
export function open(url: string, options: CallOptions = {}): Promise<IncomingMessage> {
  const { body, headers, method = body === undefined ? 'GET' : 'POST', ...rest } = options;
  return new Promise((resolve, reject) => {
    const sent = request(url, {
      agent: false,
      method,
      ...rest,
      ...(headers !== undefined && { headers: withHost(headers, url) as OutgoingHttpHeaders }),
    });
    sent.once('response', resolve);
    sent.once('error', reject);
    sent.end(body);
  });
}

/** Node adds no `Host` to headers that come as an array. */
function withHost(headers: OutgoingHttpHeaders | readonly string[], url: string): unknown {
  if (!Array.isArray(headers)) return headers;
  const names = headers.filter((_, index) => index % 2 === 0).map((name: string) => name.toLowerCase());
  return names.includes('host') ? headers : ['Host', new URL(url).host, ...headers];
}

/** A connection on which bytes are sent as they stand. */
export interface RawConnection {
  readonly socket: Socket;
  send(text: string | Buffer): void;
  /** All that came so far. */
  received(): string;
  /** Settles with all that came, once this is in it. @throws Error when the connection ends first */
  until(text: string | RegExp): Promise<string>;
  /** Settles with all that came, when the connection has ended; never throws for a reset. */
  closed(): Promise<string>;
}

export async function connectRaw(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  let ended = false;
  const wake = new Set<() => void>();
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    for (const check of wake) check();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    ended = true;
    for (const check of wake) check();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  const wait = (isDone: () => boolean, failed: () => boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (!isDone() && !failed()) return;
        wake.delete(check);
        if (isDone()) resolve(text);
        else reject(new Error(`the connection ended before that came; what came: ${text}`));
      };
      wake.add(check);
      check();
    });
  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    received: () => text,
    until: (wanted) =>
      wait(
        () => (typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text)),
        () => ended,
      ),
    closed: () =>
      wait(
        () => ended,
        () => false,
      ),
  };
}
