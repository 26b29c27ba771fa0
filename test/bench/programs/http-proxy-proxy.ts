import { Agent, createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { announce, PROBE_PATH, readOptions } from './proxy-options.ts';

/** The used part of http-proxy. */
interface HttpProxy {
  createProxyServer(options: object): {
    web(request: IncomingMessage, response: ServerResponse): void;
    on(event: 'error', listener: (error: Error, request: IncomingMessage, response: ServerResponse) => void): void;
  };
}

const { origin, ca } = readOptions();
const { createProxyServer } = createRequire(import.meta.url)('http-proxy') as HttpProxy;
const agent = ca === undefined ? new Agent({ keepAlive: true }) : new TlsAgent({ keepAlive: true, ca });
const proxy = createProxyServer({ target: origin, agent, changeOrigin: true, secure: true });
proxy.on('error', (_error, _request, response) => response.writeHead(502).end());
const server = createServer((request, response) => {
  if (request.url === PROBE_PATH) response.end();
  else proxy.web(request, response);
});
server.listen(0, '127.0.0.1', () => announce((server.address() as AddressInfo).port));
