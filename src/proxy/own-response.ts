import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import { describeError } from '../error-catalogue.ts';
import { CambistError, detailOf } from '../errors.ts';
import { announceClose } from './closing.ts';
import type { ResponseId } from './mcp-error.ts';
import { discardRest } from './request-body.ts';

export interface OwnResponse {
  readonly status: number;
  /** The reason phrase. Undefined: the usual one of the status. */
  readonly reason?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** `Retry-After` where the error names no better time. */
const DEFAULT_RETRY_AFTER_SECONDS = 1;

export function asCambistError(error: unknown): CambistError {
  if (error instanceof CambistError) return error;
  if (error instanceof Error && error.cause instanceof CambistError) return error.cause;
  return new CambistError('ERR_INTERNAL', 'unexpected error', { cause: error });
}

/** This number is within the range that MCP leaves to implementations. `data.code` tells cambist's errors apart. */
const JSON_RPC_ERROR = -32010;
/** MCP's own code for headers that disagree with the message. */
const HEADER_MISMATCH = -32020;

/**
 * The response to a failed request: a problem, or a JSON-RPC error with it, whose message MCP clients show. Its texts are
 * those of the error catalogue. It repeats only what the client must act on from another server, such as the address for a consent.
 * @param wanted the token that a 401 asks for
 * @param id given for a JSON-RPC error
 * @see RFC 9457 section 3, RFC 6750 section 3, RFC 9728 section 5.1, JSON-RPC 2.0 section 5.1, MCP "Streamable HTTP"
 */
export function errorResponse(
  error: CambistError,
  requestId: string,
  wanted: WantedToken = {},
  id?: ResponseId,
): OwnResponse {
  const { code } = error;
  const { status, title } = describeError(code);
  const detail = detailOf(error);
  const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'x-request-id': requestId };
  if (status === 401) headers['www-authenticate'] = challenge(error, wanted);
  if (status === 503) headers['retry-after'] = String(error.retryAfterSeconds ?? DEFAULT_RETRY_AFTER_SECONDS);
  const interaction = error.consentUrl === undefined ? {} : { interaction_uri: error.consentUrl() };
  // A browser may keep a 403, and the URL is for this caller alone.
  if (error.consentUrl !== undefined) headers['cache-control'] = 'no-store';
  // Clients that read no body show at least this line (Python SDK 1.x).
  const reason = `${STATUS_CODES[status]} (${code})`;
  const data = {
    type: `urn:cambist:error:${code}`,
    title,
    status,
    detail,
    code,
    request_id: requestId,
    ...interaction,
  };
  if (id === undefined) return { status, reason, headers, body: JSON.stringify(data) };
  headers['content-type'] = 'application/json';
  const number = code === 'ERR_HEADER_MISMATCH' ? HEADER_MISMATCH : JSON_RPC_ERROR;
  const jsonRpc = { jsonrpc: '2.0', ...id, error: { code: number, message: `${code}: ${detail}`, data } };
  return { status, reason, headers, body: JSON.stringify(jsonRpc) };
}

/** Writes a response whole. The rest of an incomplete request is dropped, and a proxy that shuts down wants no further requests. */
export function writeResponse(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { status, reason = STATUS_CODES[status] as string, headers, body }: OwnResponse,
  isLast: boolean,
): void {
  const keepsConnection = incoming.complete && !isLast;
  if (!keepsConnection) announceClose(incoming);
  const connection = keepsConnection ? {} : { connection: 'close' };
  outgoing.writeHead(status, reason, { ...headers, ...connection, 'content-length': Buffer.byteLength(body) });
  outgoing.end(body);
  discardRest(incoming);
}

/** Where a caller gets its token, and for what. Both are safe in a quoted string. */
export interface WantedToken {
  readonly scope?: string | undefined;
  /** URL of the metadata that names the authorization server. */
  readonly resourceMetadata?: string | undefined;
}

/** The parameter of a challenge that has no other: RFC 6750 section 3 wants one. */
const REALM = 'realm="cambist"';

function challenge(error: CambistError, { scope, resourceMetadata }: WantedToken): string {
  const all = { ...errorParameters(error), scope, resource_metadata: resourceMetadata };
  const parameters = Object.entries(all).filter(([, value]) => value !== undefined);
  return `Bearer ${parameters.map(([name, value]) => `${name}="${value}"`).join(', ') || REALM}`;
}

/** The words of RFC 6750 section 3. */
const EXPIRED = 'The access token expired';

/** @see RFC 6750 section 3, RFC 9470 section 3 */
function errorParameters({ code, authentication, claims = '', expired }: CambistError) {
  switch (code) {
    case 'ERR_SUBJECT_TOKEN_MISSING':
      return {};
    case 'ERR_AGENT_UNKNOWN':
      return { realm: 'agent' };
    case 'ERR_INTERACTION_REQUIRED': {
      if (authentication === undefined) {
        return { error: 'insufficient_claims', claims: Buffer.from(claims).toString('base64') };
      }
      const { acrValues, maxAge } = authentication;
      return { error: 'insufficient_user_authentication', acr_values: acrValues, max_age: maxAge };
    }
    default:
      return { error: 'invalid_token', error_description: expired ? EXPIRED : undefined };
  }
}
