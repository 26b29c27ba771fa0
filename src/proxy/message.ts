import type { IncomingMessage } from 'node:http';
import { CambistError } from '../errors.ts';
import { headerDisagreement, readMcpMessage } from '../routing/mcp-message.ts';
import type { McpMessage } from '../routing/request-facts.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import { readWhole } from './request-body.ts';

/** A request's message, and the bytes that it stood in: they go upstream as they came. */
export interface ReadMessage {
  readonly message: McpMessage;
  readonly body: Buffer;
}

/**
 * Reads the message that a request's route depends on. What could be read one way here and another way by the backend has
 * no route.
 * @param limitBytes the largest body that is read
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND
 */
export async function readMessage(request: IncomingMessage, limitBytes: number): Promise<ReadMessage> {
  const raw = request.rawHeaders;
  const encoded = encodingOf(raw);
  if (encoded !== undefined) throw noRoute(encoded);
  const body = await readWhole(request, limitBytes);
  if (body === undefined) throw noRoute(`its body is larger than ${limitBytes} bytes: raise retry_body_limit`);
  const reading = readMcpMessage(body);
  if ('wrong' in reading) throw noRoute(reading.wrong);
  const disagreement = headerDisagreement(
    reading.message,
    headerValues(raw, 'mcp-method'),
    headerValues(raw, 'mcp-name'),
  );
  if (disagreement !== undefined) throw noRoute(disagreement);
  return { message: reading.message, body };
}

/** The search below takes time with the square of it. */
const MAX_CONTENT_TYPE = 256;

/** Why a body is not plainly JSON in UTF-8, by what its headers say. */
function encodingOf(raw: RawHeaders): string | undefined {
  if (headerValues(raw, 'content-encoding').some((value) => !/^\s*(?:identity)?\s*$/i.test(value))) {
    return 'its body is compressed';
  }
  // A quoted pair could hide the name of the parameter from us alone.
  const types = headerValues(raw, 'content-type');
  if (types.some((type) => type.length > MAX_CONTENT_TYPE)) return 'its Content-Type is too long to be one';
  const charsets = types.flatMap((type) => [...type.matchAll(/charset[^=]*=\s*"?([^";,\s]*)/gi)]);
  if (types.length > 1 || charsets.some(([, name]) => name?.toLowerCase() !== 'utf-8')) {
    return 'its Content-Type says that its body is not in UTF-8, or says two things';
  }
  return undefined;
}

function noRoute(why: string): CambistError {
  return new CambistError(
    'ERR_ROUTE_NOT_FOUND',
    `the route depends on the message, and no route takes this one: ${why}`,
  );
}
