import { writeFile } from 'node:fs/promises';
import {
  createSecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type SecureServerOptions,
  type ServerHttp2Session,
} from 'node:http2';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import type { WrittenConfig } from './app.ts';
import { createCertificateAuthority } from './certificates.ts';
import { startGateway } from './gateway.ts';
import { listen } from './http-server.ts';
import { temporaryFolder } from './temporary-folder.ts';

export type Http2Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => unknown;

/** The CA that the routes of these gateways trust. */
export const authority = createCertificateAuthority();

/** Responds with 200 and the received request as JSON. */
export const mirror: Http2Handler = async (request, response) => {
  const body = await buffer(request);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ version: request.httpVersion, headers: request.headers, body: body.toString() }));
};

/** Writes the certificate of `authority` to a file, for `tls.ca`. */
export async function authorityFile(t: TestContext): Promise<string> {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'ca.pem'), authority.cert);
  return join(folder, 'ca.pem');
}

/**
 * Starts cambist in front of an upstream that supports HTTP/2.
 * @param keys override keys of the route
 * @param options override options of the upstream
 * @param top overrides keys of the top level of the config
 */
export async function startHttp2Gateway(
  t: TestContext,
  first: Http2Handler = mirror,
  keys: Record<string, unknown> = { http2: true },
  options: SecureServerOptions = {},
  top: WrittenConfig = {},
) {
  const state = {
    handler: first,
    /** The number of connections, including closed ones. */
    connections: 0,
    requests: [] as Http2ServerRequest[],
    sessions: new Set<ServerHttp2Session>(),
    sockets: new Set<Duplex>(),
    cut(): void {
      for (const socket of state.sockets) socket.destroy();
    },
  };
  const server = createSecureServer(
    { ...authority.issueServer(), allowHTTP1: true, ...options },
    (request, response) => {
      state.requests.push(request);
      request.on('error', () => {});
      response.on('error', () => {});
      void state.handler(request, response);
    },
  );
  server.on('session', (session) => {
    state.connections += 1;
    state.sessions.add(session);
    session.on('error', () => {});
    session.once('close', () => state.sessions.delete(session));
  });
  server.on('sessionError', () => {});
  server.on('secureConnection', (socket) => state.sockets.add(socket));
  const { port } = await listen(server);
  t.after(() => {
    for (const session of state.sessions) session.destroy();
    server.close();
  });
  const ca = await authorityFile(t);
  const route = { upstream: `https://localhost:${port}/mcp`, tls: { ca: { file: ca } }, ...keys };
  return { ...(await startGateway(t, { route, top })), state, ca };
}
