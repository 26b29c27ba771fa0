import { parseJsonObject } from '../tokens/token-text.ts';
import type { Rewriter } from './endpoint-event.ts';

/** The JSON-RPC error code for a method that the server does not have. */
const METHOD_NOT_FOUND = -32601;

/** An error response of JSON-RPC has a code, a message and little data. */
const MAX_BYTES = 16 * 1024;

const NOTHING = Buffer.alloc(0);

/**
 * Passes the body of a 404 on unchanged, and reads what was not found: the session, or only the method of one request.
 * @param sessionEnded called at the end of the body, unless it is the JSON-RPC error of an unknown method
 * @see MCP 2026-07-28, Streamable HTTP: a method that the server lacks is 404 with -32601
 */
export function createUnknownMethodReader(sessionEnded: () => void): Rewriter {
  let chunks: Buffer[] = [];
  let bytes = 0;

  return {
    push(chunk) {
      bytes += chunk.length;
      if (bytes <= MAX_BYTES) chunks.push(chunk);
      else chunks = [];
      return chunk;
    },
    rest() {
      const error = parseJsonObject(Buffer.concat(chunks).toString('utf8'))?.error as { code?: unknown } | undefined;
      if (error?.code !== METHOD_NOT_FOUND) sessionEnded();
      return NOTHING;
    },
  };
}
