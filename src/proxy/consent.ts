import { STATE_PREFIX } from '../routing/request-state.ts';
import type { Broker } from '../tokens/broker.ts';
import type { Session } from '../tokens/session.ts';
import type { ElicitationOptions } from './elicitation.ts';
import type { RequestBody } from './request-body.ts';
import type { Routed } from './steps.ts';

/** May the body be a retry after a consent? A streamed body is larger than any such retry. */
export function mayCarryState({ content }: RequestBody): boolean {
  return Buffer.isBuffer(content) && content.includes(STATE_PREFIX);
}

/**
 * Takes the state of a consent out of a retry, and lets the caller's next token request go to the authorization server.
 * @param headers for the upstream, whose Content-Length is corrected
 * @returns the body for the upstream
 * @throws {CambistError} ERR_REQUEST_STATE_INVALID, ERR_CONSENT_REQUIRED if the user declined
 */
export async function resumeAfterConsent(
  routed: Routed,
  session: Session,
  body: RequestBody,
  headers: string[],
  options: ElicitationOptions & { readonly broker: Broker },
): Promise<RequestBody> {
  const { withoutConsentState } = await import('./consent-retry.ts');
  const resumed = withoutConsentState(routed, session, body, options);
  if (resumed === undefined) return body;
  options.broker.consented(routed.route, session);
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]?.toLowerCase() === 'content-length') headers[i + 1] = String((resumed.content as Buffer).length);
  }
  return resumed;
}
