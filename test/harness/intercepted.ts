import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { soon } from './eventually.ts';
import { type GatewayOptions, startGateway } from './gateway.ts';
import { connectRaw, type RawConnection, rawConnection } from './http-call.ts';
import { temporaryFolder } from './lifetime.ts';

/** The host of the intercepted route `github`. */
export const INTERCEPTED = 'mcp.example.com';

export const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

export type InterceptedGateway = Awaited<ReturnType<typeof startIntercepted>>;

interface TlsOptions extends ConnectionOptions {
  readonly authority?: string;
  /** Headers of the CONNECT, as lines. */
  readonly headers?: string;
}

export interface InterceptedOptions extends GatewayOptions {
  /** `intercept.listen`. */
  readonly listen?: readonly string[];
}

/** A gateway with `intercept`, whose route `github` has a host. */
export async function startIntercepted(
  t: TestContext,
  { listen: addresses = [], ...options }: InterceptedOptions = {},
) {
  const trustDir = temporaryFolder(t);
  const gateway = await startGateway(t, {
    ...options,
    route: { match: { host: INTERCEPTED, path: '/mcp' }, ...options.route },
    top: { intercept: { trust_dir: trustDir, listen: addresses }, ...options.top },
  });
  const ca = await readFile(join(trustDir, 'ca.pem'), 'utf8');
  return {
    ...gateway,
    trustDir,
    ca,
    /** Opens a tunnel. @param authority `mcp.example.com:443` by default */
    tunnel: (authority?: string, headers?: string) => openTunnel(gateway.app.url, authority, headers),
    /** Opens a TLS connection to the intercepted host inside a tunnel. @throws {Error} where the handshake fails */
    connectTls: (tls?: TlsOptions) => connectIntercepted(gateway.app.url, ca, tls),
  };
}

/** Opens a tunnel through a proxy, whatever its response. */
export async function openTunnel(url: string, authority = `${INTERCEPTED}:443`, headers = ''): Promise<RawConnection> {
  const connection = await connectRaw(url);
  connection.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${headers}\r\n`);
  await soon('the tunnel opens', connection.until('\r\n\r\n'));
  return connection;
}

/**
 * Opens a TLS connection inside a tunnel.
 * @param ca PEM
 * @throws {Error} where the handshake fails
 */
export async function connectIntercepted(url: string, ca: string, { authority, headers, ...more }: TlsOptions = {}) {
  const { socket } = await openTunnel(url, authority, headers);
  socket.removeAllListeners('data');
  return secured(connect({ socket, ca, servername: INTERCEPTED, ...more })).catch((error: unknown) => {
    // Node leaves a connection open that it did not open itself.
    socket.destroy();
    throw error;
  });
}

/** Waits for the handshake of a client. */
export async function secured(socket: TLSSocket) {
  const connection = rawConnection(socket);
  await soon(
    'the handshake',
    new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed during the handshake')));
    }),
  );
  return { ...connection, socket };
}

/** A request whose response closes the connection. */
export function get({ authorization }: InterceptedGateway, path = '/mcp/x', host = INTERCEPTED, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n${headers}Connection: close\r\n\r\n`;
}

export const failures = ({ app }: InterceptedGateway, cause: string): Promise<number> =>
  app.metric('cambist_handshake_failures_total', { cause });

/** Nothing left cambist: neither to the authorization server nor to the upstream. */
export function assertNothingSent({ upstream, authorizationServer }: InterceptedGateway): void {
  assert.equal(upstream.requests.length, 0);
  assert.equal(authorizationServer.requests.length, 0);
}
