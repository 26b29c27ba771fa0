import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { createHostCertificates } from '../intercept/host-certificates.ts';
import type { CertificateAuthority } from '../transport/certificates.ts';

/** A proxy on loopback that ends every tunnel itself, with a certificate of the authority. Returns 204 to each request. */
export interface TrustListener {
  readonly url: string;
  /** Has a client opened a tunnel? */
  isReached(): boolean;
  close(): void;
}

export async function openTrustListener(authority: CertificateAuthority, host: string): Promise<TrustListener> {
  const secureContext = createHostCertificates(authority).contextFor(host);
  const sockets = new Set<Socket>();
  let isReached = false;
  const server = createServer((_request, response) => response.writeHead(204).end());
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy()).once('close', () => sockets.delete(socket));
  });
  server.on('connect', (_request, socket: Socket, head: Buffer) => {
    isReached = true;
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    if (head.length > 0) socket.unshift(head);
    const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
    secure.on('error', () => socket.destroy());
    secure.once('secure', () => server.emit('connection', secure));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    isReached: () => isReached,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
