import { createServer } from 'node:http';
import { closeServer, listen } from './http-server.ts';

/** Returns an available port, for programs that cannot listen on port 0. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const { port } = await listen(server);
  await closeServer(server);
  return port;
}
