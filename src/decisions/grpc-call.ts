import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

/** Status codes of gRPC. */
export const GRPC = {
  cancelled: 1,
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
} as const;

/** Ends a call with a status that is not OK. */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  readonly code: number;

  /** @param message in ASCII, without `%` */
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface GrpcCall {
  readonly headers: IncomingHttpHeaders;
  readonly connection: Socket;
  /** Reads the only message of the client. @param maxBytes 4 MiB by default @throws {GrpcError} */
  read(maxBytes?: number): Promise<Buffer>;
  /** Reads each message as it comes, until the client sends no more. @throws {GrpcError} */
  messages(): AsyncIterable<Buffer>;
  /** @param listener is called where the client cancels, its deadline passes, or the connection closes */
  onClosed(listener: () => void): void;
  cancel(): void;
}

/** Makes the only response, or each one, after which the call ends. @throws {GrpcError} or RangeError where a message is malformed */
export type Method = (call: GrpcCall) => Promise<Buffer> | AsyncIterable<Buffer>;

/** The options that all calls of a server share. */
export interface CallOptions {
  /** The methods by their paths, as in `/package.Service/Method`. */
  readonly methods: Readonly<Record<string, Method>>;
  /** The calls that wait for a further message. */
  readonly waiting: Set<ServerHttp2Stream>;
  /** Counts the calls of a connection whose message is complete. */
  readonly count: (connection: Socket, change: 1 | -1) => void;
  /** Each connection closes after the response from now on. */
  readonly isLeaving: () => boolean;
  /** Gets errors that no client should be able to provoke. */
  readonly onFault: (error: unknown) => void;
}

/** gRPC's usual limit. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** Longest pause of a client within a message. */
const READ_MS = 10_000;
/** A flag for compression, and the length. */
const PREFIX_LENGTH = 5;
const CONTENT_TYPE = 'application/grpc';

/** Serves one call: runs its method, and sends the responses and the status. */
export async function serveCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  connection: Socket,
  { methods, waiting, count, isLeaving, onFault }: CallOptions,
): Promise<void> {
  const path = String(headers[':path']);
  const type = headers['content-type'];
  if (headers[':method'] !== 'POST' || type === undefined || !/^application\/grpc(?:[+;]|$)/.test(type)) {
    stream.respond({ ':status': 415 }, { endStream: true });
    stream.close(constants.NGHTTP2_NO_ERROR);
    return;
  }
  const { send, end } = createSender(stream);
  let failure: GrpcError | undefined;
  try {
    const method = Object.hasOwn(methods, path) ? methods[path] : undefined;
    if (method === undefined) throw new GrpcError(GRPC.unimplemented, 'unknown method');
    const reader = createReader(stream, waiting, (change) => count(connection, change));
    const responses = method({
      headers,
      connection,
      ...reader,
      onClosed: (listener) => stream.once('close', listener),
      cancel: () => stream.close(constants.NGHTTP2_CANCEL),
    });
    if (responses instanceof Promise) send(await responses, true);
    else {
      for await (const response of responses) {
        send(response, false);
        if (stream.closed) break;
      }
    }
  } catch (error) {
    failure = asGrpcError(error);
    if (failure.code === GRPC.internal && !stream.closed) onFault(error);
  }
  end(failure);
  // Sends GOAWAY, and lets the calls in flight finish.
  if (isLeaving()) stream.session?.close();
}

/** Reads the messages of a call. @param count called where the first one is complete, and when that call has closed */
function createReader(
  stream: ServerHttp2Stream,
  waiting: Set<ServerHttp2Stream>,
  count: (change: 1 | -1) => void,
): Pick<GrpcCall, 'read' | 'messages'> {
  let isBegun = false;

  /** Until then, the connection may give way to a new one. */
  function begin(): void {
    stream.setTimeout(0);
    if (isBegun || stream.closed) return;
    isBegun = true;
    count(1);
    stream.once('close', () => count(-1));
  }

  return {
    async read(maxBytes = MAX_MESSAGE_BYTES) {
      const message = await onlyOf(readMessages(stream, maxBytes));
      begin();
      return message;
    },
    async *messages() {
      try {
        for await (const message of readMessages(stream, MAX_MESSAGE_BYTES)) {
          waiting.delete(stream);
          begin();
          yield message;
          waiting.add(stream);
        }
      } finally {
        waiting.delete(stream);
      }
    },
  };
}

function createSender(stream: ServerHttp2Stream) {
  let status: Record<string, string> = { 'grpc-status': '0' };

  return {
    send(response: Buffer, isOnly: boolean): void {
      if (stream.closed) return;
      if (!stream.headersSent) {
        stream.respond({ ':status': 200, 'content-type': CONTENT_TYPE }, { waitForTrailers: true });
        stream.once('wantTrailers', () => stream.sendTrailers(status));
      }
      if (isOnly) stream.end(framed(response));
      else stream.write(framed(response));
    },
    end(error?: GrpcError): void {
      if (error !== undefined) status = { 'grpc-status': String(error.code), 'grpc-message': error.message };
      if (stream.closed) {
        // A stream with an unread message would stay in memory.
        stream.destroy();
      } else if (stream.headersSent) {
        stream.end();
        // A client that does not end its call as well loses it.
        stream.resume();
        stream.setTimeout(READ_MS);
      } else {
        stream.respond({ ':status': 200, 'content-type': CONTENT_TYPE, ...status }, { endStream: true });
        stream.close(constants.NGHTTP2_NO_ERROR);
      }
    },
  };
}

/** A client that is silent before the end of a message loses its call. */
async function* readMessages(stream: ServerHttp2Stream, maxBytes: number): AsyncGenerator<Buffer, void> {
  let chunks: Buffer[] = [];
  let size = 0;
  /** Bytes to wait for: the prefix, or the whole message. */
  let wanted = PREFIX_LENGTH;
  let count = 0;
  stream.once('timeout', () => stream.close(constants.NGHTTP2_CANCEL));
  stream.setTimeout(READ_MS);
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    while (size >= wanted) {
      const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      chunks = [bytes];
      const length = bytes.readUInt32BE(1);
      if (length > maxBytes) throw new GrpcError(GRPC.resourceExhausted, 'the message is too large');
      if (bytes[0] !== 0) throw new GrpcError(GRPC.unimplemented, 'compressed messages are not supported');
      wanted = PREFIX_LENGTH + length;
      if (size < wanted) break;
      chunks = [bytes.subarray(wanted)];
      size -= wanted;
      count += 1;
      yield bytes.subarray(PREFIX_LENGTH, wanted);
      wanted = PREFIX_LENGTH;
    }
    if (size > 0) stream.setTimeout(READ_MS);
  }
  if (size > 0 || count === 0) throw new GrpcError(GRPC.invalidArgument, 'the call ends within a message');
}

async function onlyOf(messages: AsyncIterable<Buffer>): Promise<Buffer> {
  let only: Buffer | undefined;
  for await (const message of messages) {
    if (only !== undefined) throw new GrpcError(GRPC.invalidArgument, 'the call has more than one message');
    only = message;
  }
  return only as Buffer;
}

function asGrpcError(error: unknown): GrpcError {
  if (error instanceof GrpcError) return error;
  // `readFields` throws it.
  if (error instanceof RangeError) return new GrpcError(GRPC.invalidArgument, 'malformed message');
  return new GrpcError(GRPC.internal, 'internal error');
}

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_LENGTH);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
