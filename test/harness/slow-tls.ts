import { connect, createServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Certificate } from './certificates.ts';
import { serve } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';

/** Starts a TLS proxy in front of a plain server on this port. The test learns of each connection before it opens. */
export async function startSlowTls(t: Lifetime, port: number, { key, cert }: Certificate) {
  const tls = createTlsServer({ key, cert }, (near) => {
    if (slow.closedAtOnce > 0) {
      slow.closedAtOnce -= 1;
      near.end();
      return;
    }
    const far = connect(port, '127.0.0.1');
    near.on('error', () => {}).once('close', () => far.destroy());
    far.on('error', () => {}).once('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    slow.before.shift()?.();
    tls.emit('connection', socket);
  });
  const { port: ownPort } = await serve(t, server);
  const slow = {
    url: `https://localhost:${ownPort}`,
    /** Run before the next connections open, one each. */
    before: [] as (() => void)[],
    /** The number of next connections to close as soon as they are established. */
    closedAtOnce: 0,
  };
  return slow;
}
