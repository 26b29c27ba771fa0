import { createPrivateKey, X509Certificate } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type handleServerStreamingCall, type handleUnaryCall, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { writeBytes } from '../../src/protobuf.ts';
import type { Certificate } from './certificates.ts';
import { type Lifetime, temporaryFolder } from './lifetime.ts';

/** A message in the encoding of Protocol Buffers: the fields that have a length. */
export function message(...fields: readonly (readonly [number: number, value: string | Buffer])[]): Buffer {
  return Buffer.concat(fields.map(([number, value]) => writeBytes(number, value)));
}

/** The DER form of concatenated PEM certificates. */
export function der(...pems: readonly string[]): Buffer {
  return Buffer.concat(pems.map((pem) => new X509Certificate(pem).raw));
}

export function keyDer(pem: string): Buffer {
  return createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
}

type SvidParts = ReturnType<typeof svidParts>;

/** An SVID with the bundle of its issuer. */
export function svidParts(spiffeId: string, { cert, key }: Certificate, authority: string) {
  return { spiffeId, certificates: der(cert), key: keyDer(key), bundle: der(authority) };
}

/** @param federated bundles by the SPIFFE ID of their trust domain */
export function x509SvidResponse(
  svids: readonly SvidParts[],
  federated: readonly (readonly [id: string, bundle: Buffer])[] = [],
): Buffer {
  return message(
    ...svids.map(({ spiffeId, certificates, key, bundle }) => {
      return [1, message([1, spiffeId], [2, certificates], [3, key], [4, bundle])] as const;
    }),
    ...federated.map(([id, bundle]) => [3, message([1, id], [2, bundle])] as const),
  );
}

/** A token without a valid signature, which only its receiver would check. */
export function jwtSvid(claims: Readonly<Record<string, unknown>>): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'ES256', kid: 'one' })}.${part(claims)}.c2lnbmF0dXJl`;
}

type GrpcError = { readonly code: status; readonly details: string };

/** An agent whose responses the test chooses. */
export type FakeSpiffeAgent = Awaited<ReturnType<typeof startSpiffeAgent>>;

export async function startSpiffeAgent(t: Lifetime) {
  const socket = join(temporaryFolder(t), 'agent.sock');
  const address = `unix://${socket}`;
  const open = new Set<Parameters<handleServerStreamingCall<Buffer, Buffer>>[0]>();
  const jwtRequests: Buffer[] = [];
  let streams = 0;
  let current: Buffer | GrpcError = { code: status.PERMISSION_DENIED, details: 'no identity issued' };
  let respondJwt: (request: Buffer) => Buffer | GrpcError | Promise<Buffer> = () => ({
    code: status.UNAVAILABLE,
    details: 'no token',
  });
  let server: Server | undefined;

  const hasHeader = (call: { metadata: { get(key: string): unknown[] } }): boolean =>
    call.metadata.get('workload.spiffe.io')[0] === 'true';
  const fetchX509: handleServerStreamingCall<Buffer, Buffer> = (call) => {
    if (!hasHeader(call))
      return void call.emit('error', asError({ code: status.INVALID_ARGUMENT, details: 'no header' }));
    streams++;
    open.add(call);
    call.on('cancelled', () => open.delete(call));
    deliver(call);
  };
  const fetchJwt: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    if (!hasHeader(call)) return callback({ code: status.INVALID_ARGUMENT, details: 'no header' });
    jwtRequests.push(call.request);
    void Promise.resolve(respondJwt(call.request)).then((response) => {
      if (Buffer.isBuffer(response)) callback(null, response);
      else callback(response);
    });
  };
  const deliver = (call: Parameters<typeof fetchX509>[0]): void => {
    if (Buffer.isBuffer(current)) return void call.write(current);
    open.delete(call);
    call.emit('error', asError(current));
  };

  const agent = {
    address,
    /** Streams that are open. */
    get open() {
      return open.size;
    },
    /** Calls of FetchX509SVID so far. */
    get streams() {
      return streams;
    },
    /** Requests of FetchJWTSVID so far. */
    jwtRequests: jwtRequests as readonly Buffer[],
    /** The current response: sent to each open stream, and to each further one. An error ends them. */
    send(response: Buffer | GrpcError) {
      current = response;
      for (const call of [...open]) deliver(call);
    },
    /** Responses to FetchJWTSVID. */
    onJwt(respond: typeof respondJwt) {
      respondJwt = respond;
    },
    async start() {
      server = new Server();
      server.addService(
        {
          x509: { path: '/SpiffeWorkloadAPI/FetchX509SVID', requestStream: false, responseStream: true, ...AS_IS },
          jwt: { path: '/SpiffeWorkloadAPI/FetchJWTSVID', requestStream: false, responseStream: false, ...AS_IS },
        },
        { x509: fetchX509, jwt: fetchJwt },
      );
      await promisify(server.bindAsync.bind(server))(address, ServerCredentials.createInsecure());
    },
    /** Closes the socket and all connections. */
    stop() {
      server?.forceShutdown();
      open.clear();
      rmSync(socket, { force: true });
    },
  };
  t.after(agent.stop);
  await agent.start();
  return agent;
}

const asIs = (bytes: Buffer): Buffer => bytes;
const AS_IS = {
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};

function asError({ code, details }: GrpcError): Error {
  return Object.assign(new Error(details), { code, details });
}
