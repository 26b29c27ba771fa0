import { constants } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Agent, type Dispatcher } from 'undici';
import { announce, PROBE_PATH, readOptions } from './proxy-options.ts';

/**
 * A minimal streaming proxy on Node: `node:http` in front (`node:https` with TLS on the listener), `undici.dispatch` behind. It has streaming bodies with backpressure,
 * cancellation, and drops hop-by-hop headers. It has no routes, metrics or log.
 */
const { origin, ca, listenTls } = readOptions();
const agent = new Agent({
  headersTimeout: 0,
  bodyTimeout: 0,
  ...(ca === undefined ? {} : { connect: { ca } }),
});
const host = new URL(origin).host;

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'expect']);

function forward(request: IncomingMessage, response: ServerResponse): void {
  const headers = ['host', host];
  const raw = request.rawHeaders;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const key = name.toLowerCase();
    if (key !== 'host' && !HOP_BY_HOP.has(key)) headers.push(name, raw[i + 1] as string);
  }
  const options = { origin, path: request.url ?? '/', method: request.method as Dispatcher.HttpMethod, headers };
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  send({ ...options, body: length === undefined && coding === undefined ? null : request }, response);
}

function send(options: Dispatcher.DispatchOptions, response: ServerResponse): void {
  let abort: (() => void) | undefined;
  let isClosed = false;
  response.on('close', () => {
    isClosed = true;
    if (!response.writableFinished) abort?.();
  });
  agent.dispatch(options, {
    onRequestStart(controller) {
      abort = () => controller.abort(new Error('the caller disconnected'));
      if (isClosed) abort();
    },
    onResponseStart(controller, status) {
      if (status < 200) return;
      response.writeHead(status, responseHeaders((controller.rawHeaders ?? []) as Buffer[]));
      response.on('drain', () => controller.resume());
    },
    onResponseData(controller, chunk) {
      if (!response.write(chunk)) controller.pause();
    },
    onResponseEnd() {
      response.end();
    },
    onResponseError() {
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end();
    },
  });
}

function responseHeaders(raw: readonly Buffer[]): string[] {
  const headers: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as Buffer).toString('latin1');
    if (!HOP_BY_HOP.has(name.toLowerCase())) headers.push(name, (raw[i + 1] as Buffer).toString('latin1'));
  }
  return headers;
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === PROBE_PATH) response.end();
  else forward(request, response);
}

/** As cambist has it: callers with certificates resume no sessions. */
const mutual = listenTls?.ca === undefined ? {} : { requestCert: true, secureOptions: constants.SSL_OP_NO_TICKET };

const server = listenTls === undefined ? createServer(serve) : createTlsServer({ ...listenTls, ...mutual }, serve);
server.listen(0, '127.0.0.1', () => announce((server.address() as AddressInfo).port));
