import { createServer } from 'node:http';
import { closeServer, listen } from './http-server.ts';

/** For what cannot be told to take any free port and say which. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const { port } = await listen(server);
  await closeServer(server);
  return port;
}
