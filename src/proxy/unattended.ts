import { CambistError } from '../errors.ts';
import { readMessage } from './find-route.ts';
import { headerValues } from './headers.ts';
import { responseIdOf } from './mcp-error.ts';
import type { OwnResponse } from './own-response.ts';
import type { CallerToken } from './read-caller-token.ts';
import type { Routed } from './steps.ts';

/** Agents send these before they have a caller. None of them acts for one. */
const HANDSHAKES_AND_LISTS: ReadonlySet<string | undefined> = new Set([
  ...['initialize', 'notifications/initialized', 'server/discover', 'ping'],
  ...['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list'],
]);

/** Handshakes and lists are much smaller. */
const MAX_MESSAGE_BYTES = 64 * 1024;

/**
 * Takes a handshake or a list without a caller's token, on a route with `unattended`. MCP clients open a stream and end their session
 * whether or not they have a caller, and go on after a 405.
 * @returns the request with its body, or the response to it
 * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING, ERR_REQUEST_TIMEOUT, ERR_OVERLOADED
 */
export async function admitUnattended(routed: Routed, { missing }: CallerToken): Promise<Routed | OwnResponse> {
  const { request, route, wholeBody } = routed;
  const { method } = request.incoming;
  if ((method === 'GET' || method === 'DELETE') && isOfSession(routed)) {
    return { status: 405, headers: { allow: 'POST', 'x-request-id': request.record.id }, body: '' };
  }
  const reading =
    method === 'POST' ? await readMessage(request, MAX_MESSAGE_BYTES, wholeBody) : { why: 'its method is not POST' };
  if ('message' in reading && HANDSHAKES_AND_LISTS.has(reading.message.method)) {
    return { ...routed, wholeBody: reading.body, unattended: route.unattended };
  }
  const why = 'why' in reading ? reading.why : 'its message is neither a handshake nor a list';
  const message = `route "${route.name}": the request has no caller's token, which it needs because ${why}`;
  const facts = 'body' in reading && reading.body !== undefined ? { responseId: responseIdOf(reading.body) } : {};
  throw missing?.(facts) ?? new CambistError('ERR_SUBJECT_TOKEN_MISSING', message, facts);
}

/** Opens, resumes or ends the session of a client. Servers without sessions have a stream as well. */
function isOfSession({ request: { incoming, active } }: Routed): boolean {
  const { rawHeaders } = incoming;
  const accepted = headerValues(rawHeaders, 'accept').join().toLowerCase();
  return accepted.includes('text/event-stream') || headerValues(rawHeaders, active.config.session.header).length > 0;
}
