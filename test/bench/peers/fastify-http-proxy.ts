import { readFileSync } from 'node:fs';
import { type Peer, startProgram } from './peer.ts';

/** The plugin that cambist is built on, as its README has it. */
export const bareFastify: Peer = {
  name: 'bare @fastify/http-proxy',
  missing: () => undefined,
  start: (setup) => startProgram('fastify-proxy', setup, setup.caFile && readFileSync(setup.caFile, 'utf8')),
};
