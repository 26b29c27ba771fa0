import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Config } from '../config/config.ts';
import type { Decisions } from '../config/decisions.ts';
import { copyClient } from '../listeners/client-certificates.ts';
import type { DecisionProtocol } from '../observability/decision-counts.ts';
import { bytesOf, readFields, writeNumber } from '../protobuf.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import type { BeginDecision } from './begin-decision.ts';
import { type AskedRequest, readCheckRequest, reportOf, writeCheckResponse } from './check-messages.ts';
import { GRPC, type GrpcCall, GrpcError } from './grpc-call.ts';
import { createGrpcServer } from './grpc-server.ts';
import { createProcessor, type Decided, type ProcessorOptions } from './processor.ts';
import { type Reported, SECRET_HEADER } from './report.ts';

interface GrpcOptions {
  /** Is the secret the configured one? */
  readonly admits: (protocol: DecisionProtocol, sent: readonly string[]) => boolean | Promise<boolean>;
  readonly beginDecision: BeginDecision;
  readonly isNamed: () => boolean;
  readonly isReady: () => boolean;
  readonly isLeaving: () => boolean;
  readonly afterDecision: ProcessorOptions;
}

const AUTHORIZATION = 'envoy.service.auth.v3.Authorization';
const PROCESSOR = 'envoy.service.ext_proc.v3.ExternalProcessor';
const SERVICES: ReadonlySet<string> = new Set(['', AUTHORIZATION, PROCESSOR]);
/** A health check only has the name of a service. */
const MAX_HEALTH_BYTES = 1024;
/** Health checks without a message, which any client can leave open. */
const MAX_HEALTH_CALLS = 1000;
const SERVING = 1;
const NOT_SERVING = 2;

/** The listener of decisions by gRPC. */
export function createGrpc(
  { limits }: Config,
  { listen }: NonNullable<Decisions['grpc']>,
  { admits, beginDecision, isNamed, isReady, isLeaving, afterDecision }: GrpcOptions,
) {
  /** A client without the secret learns nothing. */
  async function authorize({ headers }: GrpcCall, protocol: DecisionProtocol): Promise<void> {
    const secret = headers[SECRET_HEADER];
    if (await admits(protocol, typeof secret === 'string' ? [secret] : [])) return;
    throw new GrpcError(GRPC.permissionDenied, 'access denied');
  }

  async function ask(call: GrpcCall, asked: AskedRequest, protocol: DecisionProtocol): Promise<Decided> {
    const { method, url, body, scheme } = asked;
    const socket = new CheckSocket(call.connection, scheme === 'https') as Duplex as Socket;
    copyClient(call.connection, socket);
    // The steps of the pipeline take the messages of `node:http`.
    const incoming = new IncomingMessage(socket);
    const headers = { 'content-length': String(body.length) };
    Object.assign(incoming, { method, url, httpVersionMajor: 1, httpVersionMinor: 1, headers, complete: true });
    if (body.length > 0) incoming.push(body);
    incoming.push(null);
    const outgoing = new ServerResponse(incoming);
    outgoing.assignSocket(socket);
    outgoing.once('finish', () => socket.destroy());
    const read = (): Reported => reportOf(asked, isNamed(), limits.maxHeaderSizeBytes);
    let request: ProxyRequest | undefined;
    const response = await new Promise<OwnResponse>((resolve, reject) => {
      socket.once('close', () => reject(new GrpcError(GRPC.cancelled, 'the request was aborted')));
      call.onClosed(() => socket.destroy());
      request = beginDecision(protocol, incoming, outgoing, url, read, (made) => {
        resolve(made);
        return { status: made.status, headers: {}, body: '' };
      });
    });
    return { response, request: request as ProxyRequest };
  }

  async function check(call: GrpcCall): Promise<Buffer> {
    await authorize(call, 'grpc');
    const { response } = await ask(call, readCheckRequest(await call.read()), 'grpc');
    return writeCheckResponse(response);
  }

  /** The health checks without a message, the oldest first. */
  const unread = new Set<GrpcCall>();
  /** Without the secret, which probes do not have. A new check takes the place of the oldest one, so that probes pass. */
  async function health(call: GrpcCall): Promise<Buffer> {
    const [oldest] = unread;
    if (oldest !== undefined && unread.size === MAX_HEALTH_CALLS) {
      unread.delete(oldest);
      oldest.cancel();
    }
    unread.add(call);
    const message = await call.read(MAX_HEALTH_BYTES).finally(() => unread.delete(call));
    const service = bytesOf(readFields(message), 1).toString();
    if (!SERVICES.has(service)) throw new GrpcError(GRPC.notFound, 'unknown service');
    return writeNumber(1, isReady() ? SERVING : NOT_SERVING);
  }

  const process = createProcessor((call, asked) => ask(call, asked, 'ext_proc'), afterDecision);
  async function* processAll(call: GrpcCall): AsyncGenerator<Buffer> {
    await authorize(call, 'ext_proc');
    yield* process(call);
  }

  const methods = {
    [`/${AUTHORIZATION}/Check`]: check,
    [`/${PROCESSOR}/Process`]: processAll,
    '/grpc.health.v1.Health/Check': health,
  };
  const onFault = (error: unknown): void => afterDecision.logger.error({ err: error }, 'unexpected error');
  return createGrpcServer(listen, { methods, maxConcurrent: limits.maxInFlight, isLeaving, onFault });
}

/** Stands for the connection of one check. It closes with the check, and drops what is written to it. */
class CheckSocket extends Duplex {
  readonly remoteAddress: string | undefined;
  readonly bytesRead = 0;
  readonly bytesWritten = 0;

  /** @param isSecure the client of the data plane sent its request by TLS */
  constructor({ remoteAddress }: Socket, isSecure: boolean) {
    super();
    this.remoteAddress = remoteAddress;
    if (isSecure) Object.assign(this, { encrypted: true });
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: BufferEncoding, done: () => void): void {
    done();
  }
}
