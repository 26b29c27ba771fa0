import { STATE_PREFIX } from '../config/consent.ts';
import { CambistError } from '../errors.ts';
import type { Broker } from '../tokens/broker.ts';
import type { Session } from '../tokens/session.ts';
import type { ElicitationOptions } from './elicitation.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestBody } from './request-body.ts';
import type { Routed } from './steps.ts';

/** Responds with an error. An MCP client gets a request for the user's consent in its own protocol. */
export function failRequest(error: unknown, request: ProxyRequest, options: ElicitationOptions): void {
  if (!(error instanceof CambistError) || error.consentUrl === undefined) {
    request.fail(error);
    return;
  }
  // Loaded at first use, because few configs have routes that need consent.
  import('./elicitation.ts')
    .then(({ elicitationOf }) => elicitationOf(error, request, options))
    .then(
      (instead) => request.fail(error, instead),
      (fault: unknown) => request.fail(fault),
    );
}

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
