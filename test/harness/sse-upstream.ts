import type { ServerResponse } from 'node:http';
import type { UpstreamHandler } from './fake-upstream.ts';

/** An upstream with event streams whose bytes the test writes. */
export interface SseUpstream {
  handler: UpstreamHandler;
  /** Open streams, in the order of their requests. */
  streams: Set<ServerResponse>;
  /** Writes bytes to every open stream. */
  write(bytes: string): void;
}

export function sseUpstream(): SseUpstream {
  const streams = new Set<ServerResponse>();
  return {
    streams,
    write: (bytes) => {
      for (const stream of streams) stream.write(bytes);
    },
    handler: (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      streams.add(response);
      response.once('close', () => streams.delete(response));
    },
  };
}
