import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import { describeError } from '../error-catalogue.ts';
import { CambistError, detailOf } from '../errors.ts';
import { announceClose } from './closing.ts';
import { discardRest } from './request-body.ts';

export interface OwnResponse {
  readonly status: number;
  /** Undefined: the usual one of the status. */
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

/**
 * The response to a failed request. It contains only texts of the error catalogue: no message, address or response of another
 * server.
 * @param wanted the token that a 401 asks for
 * @see RFC 9457 section 3, RFC 6750 section 3, RFC 9728 section 5.1
 */
export function errorResponse(error: CambistError, requestId: string, wanted: WantedToken = {}): OwnResponse {
  const { status, title } = describeError(error.code);
  const detail = detailOf(error);
  const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'x-request-id': requestId };
  if (status === 401) headers['www-authenticate'] = challenge(error, wanted);
  if (status === 503) headers['retry-after'] = String(error.retryAfterSeconds ?? DEFAULT_RETRY_AFTER_SECONDS);
  const type = `urn:cambist:error:${error.code}`;
  const interaction = error.consentUrl === undefined ? {} : { interaction_uri: error.consentUrl() };
  // A browser may keep a 403, and the URL is for this caller alone.
  if (error.consentUrl !== undefined) headers['cache-control'] = 'no-store';
  const body = JSON.stringify({ type, title, status, detail, code: error.code, request_id: requestId, ...interaction });
  // Clients that read no body show at least this line (Python SDK 1.x).
  return { status, reason: `${STATUS_CODES[status]} (${error.code})`, headers, body };
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
