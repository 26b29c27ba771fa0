import type { ServerResponse } from 'node:http';
import type { UpstreamHandler } from './fake-upstream.ts';

/** Event streams whose bytes the test writes, all at once or one by one. */
export interface SseUpstream {
  handler: UpstreamHandler;
  /** Those that are open, in the order in which they came. */
  streams: Set<ServerResponse>;
  /** To every open stream, as it stands. */
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
