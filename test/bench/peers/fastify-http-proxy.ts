import { programPeer } from './peer.ts';

/** The plugin that cambist uses, configured as in its README. */
export const bareFastify = programPeer('bare @fastify/http-proxy', 'fastify-proxy');
