import { type ListenOptions, Server } from 'node:net';

/** Loaded before a program, so that its listeners share their ports with other processes. */
const listen = Server.prototype.listen as (this: Server, options: ListenOptions, ...more: unknown[]) => Server;

Server.prototype.listen = function listenTogether(this: Server, options: ListenOptions, ...more: unknown[]) {
  return listen.call(this, typeof options === 'object' ? { ...options, reusePort: true } : options, ...more);
} as typeof Server.prototype.listen;
