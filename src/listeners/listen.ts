import { lstat, rm, stat } from 'node:fs/promises';
import { type AddressInfo, connect } from 'node:net';
import { dirname } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Listen } from '../config/config.ts';

/**
 * Opens a listener.
 * @returns where it is, as in `http://127.0.0.1:8180` or `unix:/path`; a port of 0 has become a real one
 * @throws {Error} with a message that says which address and why not
 */
export async function openListener(app: FastifyInstance, listen: Listen, what: string): Promise<string> {
  try {
    if (listen.kind === 'unix') {
      await clearPath(listen.path);
      await app.listen({ path: listen.path });
      return `unix:${listen.path}`;
    }
    await app.listen({ host: listen.host, port: listen.port });
    const { address, family, port } = app.server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  } catch (cause) {
    const address = listen.kind === 'unix' ? listen.path : `${listen.host}:${listen.port}`;
    throw new Error(`${what}: cannot listen on ${address}: ${reason(cause)}`, { cause });
  }
}

function reason(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return 'another process does: stop it, or choose another address';
    case 'EACCES':
      return 'not allowed: choose a port above 1023, or a folder that this user may write to';
    case 'EADDRNOTAVAIL':
      return 'this machine has no such address: choose one that it has, or 0.0.0.0';
    case 'ENOENT':
      return 'the folder does not exist: make it';
    case 'ENOTSOCK':
      return 'a file that is no socket is there: remove it, or choose another path';
    default:
      return String(code ?? 'unknown reason');
  }
}

/**
 * A process that was killed leaves its socket behind, and with it the next one could never start. Nothing but a socket is
 * ever removed.
 * @throws {NodeJS.ErrnoException} ENOENT where the folder is missing (binding would say EACCES), ENOTSOCK
 */
async function clearPath(path: string): Promise<void> {
  await stat(dirname(path));
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw Object.assign(new Error('not a socket'), { code: 'ENOTSOCK' });
  if (await refusesConnections(path)) await rm(path, { force: true });
}

function refusesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
