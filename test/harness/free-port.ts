import { createServer } from 'node:http';
import { closeServer, listen } from './http-server.ts';

/** The system may return a port again that nothing listens on yet, and one program needs several. */
const returned = new Set<number>();

/** Returns an available port, for programs that cannot listen on port 0. No port is returned twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    const { port } = await listen(server);
    await closeServer(server);
    if (returned.has(port)) continue;
    returned.add(port);
    return port;
  }
}
