import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http';
import { displaceConnections } from '../listeners/limit-connections.ts';
import type { Logger } from '../observability/logger.ts';

/** More than the API servers of a cluster open at once. About 60 KiB each. */
const MAX_CONNECTIONS = 512;
/** For scrapes and probes. */
const MAX_ADMIN_CONNECTIONS = 256;
/** Bodies that are read at a time: 8 of the largest, or hundreds of the usual ones. */
const MAX_BYTES_READ = 24 * 1024 * 1024;

/**
 * Bounds the memory of the webhook. Any pod can connect, because the API server is not authenticated, so a new client takes the
 * place of the oldest one.
 * @param maxBodyBytes size of the largest body that is accepted
 */
export function limitWebhook(server: Server, maxBodyBytes: number, logger: Logger): void {
  limitConnections(server, MAX_CONNECTIONS, 'the webhook', logger);
  /** The bytes that are read for each request at most, the oldest first. */
  const reading = new Map<IncomingMessage, number>();
  let total = 0;

  function forget(request: IncomingMessage): void {
    total -= reading.get(request) ?? 0;
    reading.delete(request);
  }

  server.on('request', (request, response) => {
    const bytes = largestBody(request.headers, maxBodyBytes);
    reading.set(request, bytes);
    total += bytes;
    response.once('close', () => forget(request));
    for (const [oldest] of reading) {
      if (total <= MAX_BYTES_READ) break;
      forget(oldest);
      oldest.destroy();
    }
  });
}

function largestBody(
  { 'content-length': length, 'transfer-encoding': coding }: IncomingHttpHeaders,
  max: number,
): number {
  return Math.min(Number(length ?? (coding === undefined ? 0 : max)), max);
}

/** Probes must pass while others hold connections: a failed one restarts the container. */
export function limitWebhookAdmin(server: Server, logger: Logger): void {
  limitConnections(server, MAX_ADMIN_CONNECTIONS, 'the admin listener', logger);
}

function limitConnections(server: Server, max: number, name: string, logger: Logger): void {
  displaceConnections(server, max, (count) => logger.warn({}, `too many connections to ${name}; dropped ${count}`));
}
