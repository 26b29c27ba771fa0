import type { IncomingMessage } from 'node:http';
import type { Route } from '../config/route.ts';
import { describeError } from '../error-catalogue.ts';
import type { CambistError } from '../errors.ts';
import { headerValues, isChunkedOrPlain } from './headers.ts';
import type { OwnResponse } from './own-response.ts';
import { type RequestBody, readWhole } from './request-body.ts';

/** The `id` of a JSON-RPC error response. Null: unknown, or a batch. Missing: no message of the body expects a response. */
export interface ResponseId {
  readonly id?: string | number | null;
}

const UNKNOWN: ResponseId = { id: null };

/** Within the range that MCP leaves to implementations. `data.code` tells cambist's errors apart. */
const ERROR_CODE = -32010;
/** MCP's own code for headers that disagree with the message. */
const HEADER_MISMATCH = -32020;

/** Largest body that is read only for its `id`. */
const MAX_BODY_BYTES = 64 * 1024;
/** Longest wait for the rest of such a body. */
const BODY_WAIT_MS = 500;
/** Such bodies that are read at the same time: 4 MiB. Requests without a route do not count to `limits.max_in_flight`. */
const MAX_READING = 64;
/** Real ids are counters or UUIDs. */
const MAX_ID_LENGTH = 256;

/**
 * Does an MCP client read the response? True for a POST of JSON whose message was read to find a route, that has a header of
 * MCP, or that accepts both media types of the Streamable HTTP transport.
 */
export function isMcpPost(
  { method, rawHeaders }: IncomingMessage,
  route: Route | undefined,
  { responseId }: Pick<CambistError, 'responseId'> = { responseId: undefined },
): boolean {
  if (method !== 'POST') return false;
  if (!headerValues(rawHeaders, 'content-type').some((value) => /^application\/json *(?:;|$)/i.test(value)))
    return false;
  if (responseId !== undefined) return true;
  const conditions = route?.match.conditions;
  if (conditions?.mcpMethods !== undefined || conditions?.mcpNames !== undefined) return true;
  for (let i = 0; i < rawHeaders.length; i += 2) if (/^mcp-/i.test(rawHeaders[i] as string)) return true;
  const accepted = headerValues(rawHeaders, 'accept').join().toLowerCase();
  return accepted.includes('application/json') && accepted.includes('text/event-stream');
}

/**
 * The same problem as a JSON-RPC error. MCP clients show its message.
 * @see JSON-RPC 2.0 section 5.1, MCP "Streamable HTTP"
 */
export function toJsonRpc(response: OwnResponse, id: ResponseId): OwnResponse {
  const data = JSON.parse(response.body) as { readonly code: string; readonly detail: string };
  const number = data.code === 'ERR_HEADER_MISMATCH' ? HEADER_MISMATCH : ERROR_CODE;
  const error = { code: number, message: `${data.code}: ${data.detail}`, data };
  return {
    ...response,
    headers: { ...response.headers, 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', ...id, error }),
  };
}

/**
 * The id for an error response: from the body, if it was read whole. If nothing of it was read, it is read now, unless cambist
 * refuses further work.
 */
export function idForError(
  error: CambistError,
  incoming: IncomingMessage,
  body: RequestBody | undefined,
): ResponseId | Promise<ResponseId> {
  if (error.responseId !== undefined) return error.responseId;
  const content = body?.replay();
  if (content !== undefined) return responseIdOf(content ?? NOTHING);
  // Before the response closes the connection, no request behind an ambiguous body may be served.
  if (!isChunkedOrPlain(incoming.rawHeaders)) return UNKNOWN;
  if (incoming.readableDidRead || describeError(error.code).phase === 'any') return UNKNOWN;
  return readResponseId(incoming);
}

const NOTHING = Buffer.alloc(0);

/** Finds the id for the response to a body. A body that is large or malformed has an unknown id. */
export function responseIdOf(body: Buffer): ResponseId {
  if (body.length > MAX_BODY_BYTES) return UNKNOWN;
  let message: unknown;
  try {
    message = JSON.parse(body.toString('utf8'));
  } catch {
    return UNKNOWN;
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) return UNKNOWN;
  const { id, method, result, error } = message as Record<string, unknown>;
  const isResponse = method === undefined && (result !== undefined || error !== undefined);
  if (isResponse || (typeof method === 'string' && id === undefined)) return {};
  const isUsable = typeof id === 'string' ? id.length <= MAX_ID_LENGTH : Number.isSafeInteger(id);
  return isUsable ? { id: id as string | number } : UNKNOWN;
}

/** Bodies that are being read for their id alone. */
let reading = 0;

/** Reads a body of which nothing was read, for its id. A body that is large or late, or one of too many, has an unknown id. */
async function readResponseId(incoming: IncomingMessage): Promise<ResponseId> {
  if (reading >= MAX_READING) return UNKNOWN;
  reading += 1;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, BODY_WAIT_MS, undefined);
  });
  try {
    const body = await Promise.race([readWhole({ incoming, waitForBody: (body) => body }, MAX_BODY_BYTES), late]);
    return body === undefined ? UNKNOWN : responseIdOf(body);
  } catch {
    return UNKNOWN;
  } finally {
    clearTimeout(timer);
    reading -= 1;
  }
}
