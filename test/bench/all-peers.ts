import type { Peers } from './cases.ts';
import { createCambist } from './peers/cambist.ts';
import { bareFastify } from './peers/fastify-http-proxy.ts';
import { haproxy } from './peers/haproxy.ts';
import { nginx } from './peers/nginx.ts';
import { bareExchange, bareUndici, bareUndiciWhole } from './peers/undici.ts';

/** A build of cambist, and how Node runs it. */
export interface Build {
  /** `main.js`. The default is that in `dist`. */
  readonly program?: string;
  readonly nodeFlags?: readonly string[];
}

/** All contestants, with the variants of cambist from one build. */
export function createPeers(build: Build = {}): Peers {
  const cambist = { name: 'cambist', logLevel: 'info', ...build } as const;
  return {
    cambist: createCambist(cambist),
    quiet: createCambist({ ...cambist, name: 'cambist, log: warn', logLevel: 'warn' }),
    inbound: createCambist({ ...cambist, name: 'cambist, inbound', inbound: true }),
    shared: createCambist({ ...cambist, name: 'cambist, shared cache', shared: true }),
    secondLevel: createCambist({
      ...cambist,
      name: 'cambist, shared cache, second level',
      shared: true,
      maxEntries: 1,
    }),
    undici: bareUndici,
    undiciWhole: bareUndiciWhole,
    exchange: bareExchange,
    fastify: bareFastify,
    nginx,
    haproxy,
  };
}
