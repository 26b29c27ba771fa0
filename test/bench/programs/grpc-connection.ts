import { type ClientHttp2Session, connect } from 'node:http2';
import { writeBytes } from '../../../src/protobuf.ts';
import type { Connection } from './protocol.ts';

/** Envoy has one connection to cambist as well. */
const sessions = new Map<number, ClientHttp2Session>();

function sessionTo(port: number): ClientHttp2Session {
  const known = sessions.get(port);
  if (known !== undefined) return known;
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  session.once('close', () => sessions.delete(port));
  sessions.set(port, session);
  return session;
}

/** Asks for decisions by `Authorization/Check`. */
export function openGrpcConnection(port: number, secret: string): Connection {
  const headers = {
    ':method': 'POST',
    ':path': '/envoy.service.auth.v3.Authorization/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
    'x-cambist-decision-secret': secret,
  };
  return {
    send(request, onEnd) {
      const stream = sessionTo(port).request(headers);
      let isAllowed = false;
      stream.on('error', () => {});
      stream.on('data', (bytes: Buffer) => {
        isAllowed ||= bytes.subarray(PREFIX_LENGTH).indexOf(ALLOWED) === 0;
      });
      stream.once('close', () => onEnd(isAllowed ? 200 : 0));
      stream.end(request);
    },
    close() {},
  };
}

const PREFIX_LENGTH = 5;
/** The status of a response that allows is 0, and its code therefore missing. */
const ALLOWED = writeBytes(1, '');

/** The question about a request, as Envoy sends it. @param lines `name: value` */
export function checkMessage(route: string, method: string, path: string, lines: readonly string[]): Buffer {
  const entry = (key: string, value: string): Buffer => Buffer.concat([writeBytes(1, key), writeBytes(2, value)]);
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    return writeBytes(3, entry(line.slice(0, colon).toLowerCase(), line.slice(colon + 2)));
  });
  const http = Buffer.concat([
    writeBytes(2, method),
    ...headers,
    writeBytes(4, path),
    writeBytes(5, 'mcp.example.com'),
  ]);
  const attributes = [writeBytes(4, writeBytes(2, http)), writeBytes(10, entry('route', route))];
  const message = writeBytes(1, Buffer.concat(attributes));
  const prefix = Buffer.alloc(PREFIX_LENGTH);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
