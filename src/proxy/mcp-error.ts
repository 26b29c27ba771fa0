import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { readsMessage } from '../config/match.ts';
import type { Route } from '../config/route.ts';
import { describeError } from '../error-catalogue.ts';
import type { CambistError } from '../errors.ts';
import { hasUnclearFraming, headerValues } from './headers.ts';
import { type RequestBody, readWhole } from './request-body.ts';

/** The `id` of a JSON-RPC error response. Null: unknown, or a batch. Missing: no message of the body expects a response. */
export interface ResponseId {
  readonly id?: string | number | null;
}

const UNKNOWN: ResponseId = { id: null };

/** Largest body whose `id` is read. */
export const MAX_BODY_BYTES = 64 * 1024;
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
  if (route !== undefined && readsMessage(route.match)) return true;
  for (let i = 0; i < rawHeaders.length; i += 2) if (/^mcp-/i.test(rawHeaders[i] as string)) return true;
  const accepted = headerValues(rawHeaders, 'accept').join().toLowerCase();
  return accepted.includes('application/json') && accepted.includes('text/event-stream');
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
  if (hasUnclearFraming(incoming)) return UNKNOWN;
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
  try {
    const late = delay(BODY_WAIT_MS, undefined, { ref: false });
    const body = await Promise.race([readWhole({ incoming, waitForBody: (body) => body }, MAX_BODY_BYTES), late]);
    return body === undefined ? UNKNOWN : responseIdOf(body);
  } catch {
    return UNKNOWN;
  } finally {
    reading -= 1;
  }
}
