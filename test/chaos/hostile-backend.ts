import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { CertificateAuthority } from '../harness/certificates.ts';
import { startHttpServer } from '../harness/http-server.ts';
import type { Lifetime } from '../harness/lifetime.ts';
import type { Random } from '../harness/random.ts';
import { streamEvents } from './base.ts';
import type { BackendIdentity, Ledger } from './ledger.ts';

export type HostileBackend = Awaited<ReturnType<typeof startHostileBackend>>;

/** Request headers: name of the caller, and name of the call. */
export const CALLER_HEADER = 'x-chaos-caller';
export const CALL_HEADER = 'x-chaos-call';
/** Response header: the call that the response is for. */
export const REPLY_HEADER = 'x-chaos-reply';

type Behaviour = (request: IncomingMessage, response: ServerResponse, random: Random) => unknown;

/** Starts a backend that checks the token of each request, and then behaves as well or as badly as chance has it. */
export async function startHostileBackend(
  t: Lifetime,
  { name, credential }: BackendIdentity,
  random: Random,
  ledger: Ledger,
  /** Issues the backend's certificate. Without it, the backend speaks no TLS. */
  tls: CertificateAuthority | undefined,
) {
  const check = ({ headers, rawHeaders, url = '' }: IncomingMessage): void => {
    const caller = String(headers[CALLER_HEADER] ?? 'an unknown caller');
    const authorization = valuesOf(rawHeaders, (header) => header === 'authorization');
    const rest = valuesOf(rawHeaders, (header) => header !== 'authorization').join('\n');
    ledger.checkArrival({ name, credential }, caller, authorization, `${url}\n${rest}`);
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    check(request);
    const behave = backend.misbehaves && random.chance(0.4) ? random.pick(BEHAVIOURS) : echo;
    Promise.resolve(behave(request, response, random)).catch(() => response.destroy());
  };
  const onUpgrade = (request: IncomingMessage, socket: Duplex): void => {
    check(request);
    upgrade(socket, backend.misbehaves ? random.int(6) : 0);
  };
  const { url, close } = await startHttpServer(onRequest, { upgrade: onUpgrade, tls: tls?.issueServer() });
  t.after(close);
  /** `misbehaves: false`: it echoes each request. */
  const backend = { name, credential, url: `${url}/${name}`, misbehaves: true };
  return backend;
}

function valuesOf(rawHeaders: readonly string[], wanted: (name: string) => boolean): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && wanted((rawHeaders[index - 1] ?? '').toLowerCase()));
}

/** Headers of a response to this request. */
function reply(request: IncomingMessage, more: OutgoingHttpHeaders = {}): OutgoingHttpHeaders {
  return { 'content-type': 'text/plain', [REPLY_HEADER]: String(request.headers[CALL_HEADER] ?? ''), ...more };
}

function respond(response: ServerResponse, status: number, headers: OutgoingHttpHeaders, body?: string): void {
  response.writeHead(status, headers);
  if (body !== undefined) response.end(body);
}

const echo: Behaviour = async (request, response) => {
  const body = await buffer(request);
  respond(response, 200, reply(request), String(body.length));
};

const BEHAVIOURS: readonly Behaviour[] = [
  // Slow.
  async (request, response, random) => {
    await delay(random.int(800));
    await echo(request, response, random);
  },
  // Refuses the token.
  (request, response) => {
    request.resume();
    respond(response, 401, reply(request, { 'www-authenticate': 'Bearer error="invalid_token"' }), 'refused');
  },
  // Requests more scopes, which some of the configs allow.
  (request, response) => {
    request.resume();
    const challenge = 'Bearer error="insufficient_scope", scope="more"';
    respond(response, 403, reply(request, { 'www-authenticate': challenge }), 'more');
  },
  // Responds before it has read the request, and never reads it.
  (request, response) => respond(response, 200, reply(request), 'early'),
  // Never responds.
  (request) => void request.resume(),
  // Neither reads nor responds.
  () => {},
  // Breaks off before the response.
  (_request, response) => response.destroy(),
  // Breaks off within the response.
  (request, response) => {
    respond(response, 200, reply(request, { 'content-length': 1000 }));
    response.write('some');
    setTimeout(() => response.destroy(), 20);
  },
  // A stream of events.
  (request, response, random) => {
    request.resume();
    respond(response, 200, reply(request, { 'content-type': 'text/event-stream' }));
    streamEvents(response, 50, random.int(3000));
  },
  // More than the buffers on the way hold.
  (request, response) => {
    request.resume();
    respond(response, 200, reply(request));
    return pipeline(function* () {
      for (let rest = 100; rest > 0; rest -= 1) yield Buffer.alloc(64 * 1024, 'x');
    }, response);
  },
  // An unsolicited second response, on a connection that may be used again.
  async (request, response, random) => {
    await echo(request, response, random);
    request.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Chaos-Reply: poison\r\n\r\npoison');
  },
  // No HTTP.
  (request) => void request.socket.end('HTTP/1.1 2OO\r\n\r\n'),
  // Informational responses.
  async (request, response, random) => {
    request.socket.write('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n');
    await echo(request, response, random);
  },
  // Length and chunks at once.
  (request) =>
    void request.socket.write(
      'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    ),
  // The connection ends just after the response, and might be about to be used again.
  async (request, response, random) => {
    await echo(request, response, random);
    request.socket.destroySoon();
  },
  // The body ends where the connection ends.
  (request) => void request.socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end'),
  // An unsolicited upgrade.
  (request) =>
    void request.socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
];

const ACCEPTED = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';

function upgrade(socket: Duplex, behaviour: number): void {
  switch (behaviour) {
    case 0:
    case 1:
      socket.write(`${ACCEPTED}hello`);
      socket.on('data', (chunk) => socket.write(chunk));
      return void socket.on('end', () => socket.end());
    case 2:
      return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
    case 3:
      return void socket.destroy();
    case 4:
      socket.write(ACCEPTED);
      return void setTimeout(() => socket.destroy(), 50);
    default:
      // Never responds.
      return void socket.resume();
  }
}
