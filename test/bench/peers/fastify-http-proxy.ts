import { programPeer } from './peer.ts';

/** The plugin that cambist is built on, as its README has it. */
export const bareFastify = programPeer('bare @fastify/http-proxy', 'fastify-proxy');
