import { CambistError } from '../errors.ts';
import type { McpMessage } from '../routing/conditions.ts';
import { headerDisagreement, readMcpMessage } from '../routing/mcp-message.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import { responseIdOf } from './mcp-error.ts';
import { type BodySource, readWhole } from './request-body.ts';

/** A message that a route depends on, and the body that contained it. The body goes upstream unchanged. */
export interface ReadMessage {
  readonly message: McpMessage;
  readonly body: Buffer;
}

/**
 * Reads the message that the route of a request depends on.
 * @param limitBytes size of the largest body to read
 * @throws {CambistError} ERR_MESSAGE_TOO_LARGE, ERR_HEADER_MISMATCH, ERR_REQUEST_TIMEOUT, ERR_OVERLOADED, and ERR_ROUTE_NOT_FOUND for a body that the backend may read
 *   differently
 */
export async function readMessage(source: BodySource, limitBytes: number): Promise<ReadMessage> {
  const raw = source.incoming.rawHeaders;
  const encoded = encodingProblem(raw);
  if (encoded !== undefined) throw noRoute(encoded);
  const body = await readWhole(source, limitBytes);
  if (body === undefined) throw tooLarge(limitBytes);
  const reading = readMcpMessage(body);
  if ('wrong' in reading) throw noRoute(reading.wrong, body);
  const disagreement = headerDisagreement(reading, {
    versions: headerValues(raw, 'mcp-protocol-version'),
    methods: headerValues(raw, 'mcp-method'),
    names: headerValues(raw, 'mcp-name'),
  });
  if (disagreement !== undefined) throw mismatch(disagreement, body);
  return { message: reading.message, body };
}

/** Bounds the search for `charset`, which takes quadratic time. */
const MAX_CONTENT_TYPE = 256;

/** Says why the headers do not announce plain JSON in UTF-8. */
function encodingProblem(raw: RawHeaders): string | undefined {
  // Node has removed the white space around the value. Any other makes it another coding.
  const codings = headerValues(raw, 'content-encoding').map((value) => value.toLowerCase());
  if (codings.some((coding) => coding !== '' && coding !== 'identity')) return 'its body is compressed';
  // A parser that ignores quoted pairs finds the name of a parameter where this search does not, so any text counts.
  const types = headerValues(raw, 'content-type');
  if (types.some((type) => type.length > MAX_CONTENT_TYPE)) return 'its Content-Type is too long';
  const charsets = types.flatMap((type) => [...type.matchAll(/charset[^=]*=\s*"?([^";,\s]*)/gi)]);
  if (types.length > 1 || charsets.some(([, name]) => name?.toLowerCase() !== 'utf-8')) {
    return 'its Content-Type names another charset than UTF-8, or occurs twice';
  }
  return undefined;
}

function tooLarge(limitBytes: number): CambistError {
  return new CambistError(
    'ERR_MESSAGE_TOO_LARGE',
    `the route depends on the message, and the body is larger than ${limitBytes} bytes: raise retry_body_limit of the ` +
      'routes with this host and path, or send a smaller message',
  );
}

function noRoute(why: string, body?: Buffer): CambistError {
  return new CambistError('ERR_ROUTE_NOT_FOUND', `the route depends on the message, and this one is refused: ${why}`, {
    ...(body !== undefined && { responseId: responseIdOf(body) }),
  });
}

function mismatch(why: string, body: Buffer): CambistError {
  return new CambistError(
    'ERR_HEADER_MISMATCH',
    `the route depends on the message, and the request is refused: ${why}`,
    {
      responseId: responseIdOf(body),
    },
  );
}
