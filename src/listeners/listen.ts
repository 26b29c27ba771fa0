import { once } from 'node:events';
import { lstat, rm, stat } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import type { FastifyInstance, FastifyServerOptions } from 'fastify';
import type { Listen } from '../config/addresses.ts';
import { errorCode } from '../errors.ts';
import { withBrackets } from '../host-names.ts';
import { isSecure } from './idle-connection.ts';
import { type ListenerCertificates, tlsOf } from './tls.ts';

/** A caller whose host disappears sends no end. TCP probes find its connection dead after about a minute of silence. */
export const KEEP_ALIVE_PROBES = { keepAlive: true, keepAliveInitialDelay: 60_000 };

/**
 * Opens a listener.
 * @param what the config key, for messages
 * @returns its address, as in `http://127.0.0.1:8180` or `unix:/path`, with the actual port in place of port 0
 * @throws {Error} with the address and the reason
 */
export async function openListener(
  app: FastifyInstance,
  listen: Listen,
  what: string,
  socketMode = 0o660,
  certificates?: ListenerCertificates,
): Promise<string> {
  const tls = tlsOf(listen);
  if (tls !== undefined && isSecure(app.server)) await certificates?.serve(app.server, tls, what);
  try {
    if (listen.kind === 'unix') {
      await removeStaleSocket(listen.path);
      await openSocket(app, listen.path, socketMode);
      return `unix:${listen.path}`;
    }
    await app.listen({ host: await hostOf(listen.host), port: listen.port });
    return listenUrl(app.server);
  } catch (cause) {
    const address = listen.kind === 'unix' ? listen.path : `${listen.host}:${listen.port}`;
    throw new Error(`${what}: cannot listen on ${address}: ${whyNotListening(cause)}`, { cause });
  }
}

/** The host to listen on. `::` stands for every address, of IPv4 as well, also on a machine without IPv6. */
async function hostOf(host: string): Promise<string> {
  // Fastify would open a second server for the other address of localhost, without the limits and handlers of this one.
  if (host === 'localhost') return '127.0.0.1';
  return host === '::' && !(await hasIPv6()) ? '0.0.0.0' : host;
}

function hasIPv6(): Promise<boolean> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen({ host: '::', port: 0 }, () => probe.close(() => resolve(true)));
  });
}

/** The URL of an open TCP listener, with the actual port in place of port 0. */
export function listenUrl(server: Server): string {
  const { address, port } = server.address() as AddressInfo;
  return `${isSecure(server) ? 'https' : 'http'}://${withBrackets(address)}:${port}`;
}

/** Opens a Unix socket that has its permissions from the start, so that no other process connects before they are set. */
async function openSocket(app: FastifyInstance, path: string, mode: number): Promise<void> {
  // Fastify does so by itself for servers that it opened, but gives no way to set the mode first.
  app.addHook('preClose', (done) => {
    app.server.closeAllConnections();
    done();
  });
  await app.ready();
  const listening = once(app.server, 'listening');
  // Node creates the socket inside this call. The mask of the process is changed for no longer than that.
  const before = process.umask(0o777 & ~mode);
  try {
    app.server.listen({ path });
  } finally {
    process.umask(before);
  }
  await listening;
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there: stop it, or choose another address',
  EACCES: 'permission denied: choose a port above 1023, or a folder that this user may write to',
  EADDRNOTAVAIL: 'this machine has no such address: choose one that it has, or 0.0.0.0',
  ENOENT: 'the folder does not exist: create it',
  ENOTSOCK: 'the file there is not a socket: remove it, or choose another path',
};

export function whyNotListening(cause: unknown): string {
  const code = String(errorCode(cause) ?? 'unknown reason');
  return REASONS[code] ?? code;
}

/**
 * Removes the socket that a killed process left behind, because binding fails while it exists. Removes nothing else.
 * @throws {NodeJS.ErrnoException} ENOENT if the folder is missing, for which bind reports EACCES; ENOTSOCK
 */
async function removeStaleSocket(path: string): Promise<void> {
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

function refuse(): never {
  throw new Error('a Fastify route has a schema, but no schema compiler is loaded');
}

/**
 * Fastify's `schemaController` for servers whose routes have no schemas. Otherwise Fastify loads its schema compilers and Ajv. These
 * hundred files would delay the start and occupy memory, and the build does not contain them.
 * @see https://fastify.dev/docs/latest/Reference/Server/#schemacontroller
 */
export const NO_SCHEMAS: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: { buildValidator: () => refuse, buildSerializer: () => refuse },
};
