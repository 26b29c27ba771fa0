import httpProxy from '@fastify/http-proxy';
import fastify from 'fastify';
import { Agent } from 'undici';
import { announce, PROBE_PATH, readOptions } from './proxy-options.ts';

/** @fastify/http-proxy as in its README, except that it verifies the certificate, which is not the default. */
const { origin, ca } = readOptions();
const app = fastify();
await app.register(httpProxy, {
  upstream: origin,
  ...(ca === undefined ? {} : { undici: new Agent({ connect: { ca } }) }),
});
app.get(PROBE_PATH, async () => '');
const url = await app.listen({ port: 0, host: '127.0.0.1' });
announce(Number(new URL(url).port));
