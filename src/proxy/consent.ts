import { CambistError } from '../errors.ts';
import { ADDED_BYTES, CONSENT_STATE } from '../routing/request-state.ts';
import type { Broker } from '../tokens/broker.ts';
import type { Session } from '../tokens/session.ts';
import { jsonMembers, parseJsonObject, skipSpace, withoutMembers } from '../tokens/token-text.ts';
import { MAX_BODY_BYTES, responseIdOf } from './mcp-error.ts';
import { type RequestBody, wholeBody } from './request-body.ts';
import type { Routed } from './steps.ts';

type Json = Readonly<Record<string, unknown>>;

/** Names cambist's request for input among those of a backend. */
export const CONSENT_INPUT = 'cambist-consent';

/** The fields that a client adds to a retry (MCP 2026-07-28, "Multi Round-Trip Requests"). */
export const RETRY_FIELDS: ReadonlySet<string> = new Set(['requestState', 'inputResponses']);

/**
 * May the body be a retry after a consent? The `id` of the original request was read. Anyone can send a larger body with the state,
 * and parsing it would block all other requests.
 */
export function mayCarryState({ content }: RequestBody): boolean {
  if (!Buffer.isBuffer(content) || content.length > MAX_BODY_BYTES + ADDED_BYTES) return false;
  return content.includes(CONSENT_STATE);
}

/**
 * Takes the fields that the client added out of a retry after a consent, and lets the caller's next token request go to the
 * authorization server. All other bytes stay.
 * @param headers for the upstream, whose Content-Length is corrected
 * @returns the body for the upstream
 * @throws {CambistError} ERR_CONSENT_REQUIRED if the user declined
 */
export function resumeAfterConsent(
  { route }: Routed,
  session: Session,
  body: RequestBody,
  headers: string[],
  broker: Broker,
): RequestBody {
  const content = body.content as Buffer;
  const text = content.toString('utf8');
  const { requestState, inputResponses } = Object(parseJsonObject(text)?.params) as Json;
  if (requestState !== CONSENT_STATE) return body;
  const { action } = Object((Object(inputResponses) as Json)[CONSENT_INPUT]) as Json;
  if (action === 'decline' || action === 'cancel') {
    throw new CambistError('ERR_CONSENT_REQUIRED', `route "${route.name}": the user declined to open the URL`, {
      responseId: responseIdOf(content),
    });
  }
  // The refusal that led to the prompt may still be cached.
  broker.forgetRefusal(route, session);
  // Of several members with this name, the parser took the last as well.
  const params = jsonMembers(text, skipSpace(text, 0)).findLast(({ key }) => key === 'params');
  const resumed = Buffer.from(withoutMembers(text, params?.valueStart ?? 0, RETRY_FIELDS), 'utf8');
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]?.toLowerCase() === 'content-length') headers[i + 1] = String(resumed.length);
  }
  return wholeBody(resumed);
}
