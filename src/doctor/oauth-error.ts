import type { JWTPayload } from 'jose';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { redact } from '../observability/logged-error.ts';
import { hideCredentials, type SentValue } from '../tokens/sent-values.ts';
import type { Finding, ShowClaim } from './finding.ts';
import { jsonBodyOf, type TokenResponse } from './recorded-request.ts';

/** An OAuth error response (RFC 6749 section 5.2). */
export interface OAuthError {
  readonly status: number;
  readonly error: string;
  /** Unredacted, for matching only. */
  readonly description: string;
  /** Status, error and description without anything that may be a token. Safe to show. */
  readonly shown: string;
}

/** An exchange that an authorization server refused. */
export interface FailedExchange {
  readonly server: AuthorizationServer;
  readonly request: TokenResponse;
  readonly refusal: OAuthError;
  /** Claims of the subject token. Undefined if it is opaque, or the request had none. */
  readonly subject: JWTPayload | undefined;
  /** True for the second exchange of a chain. Its assertion comes from the first. */
  readonly secondLeg: boolean;
  /** Writes a claim of the subject token, which any caller may have made up, for the place where it is shown. */
  readonly show: ShowClaim;
}

/** Adds the server's words to a finding. */
export function quoting(finding: Finding, { shown }: OAuthError): Finding {
  return { ...finding, what: `${finding.what}: ${shown}` };
}

/** Recognizes one cause of a failed exchange. Undefined if it is another cause. */
export type Cause = (failed: FailedExchange) => Finding | undefined;

/** These statuses describe the state of the server, not a fault of the request. */
const BUSY: ReadonlySet<number> = new Set([408, 429]);

/**
 * @param sent the values of the request, which are hidden
 * @returns undefined if the response is not a refusal
 */
export function oauthErrorOf(
  request: Pick<TokenResponse, 'status' | 'text'>,
  sent: readonly SentValue[],
): OAuthError | undefined {
  const { status } = request;
  if (status === undefined || status < 400 || status >= 500 || BUSY.has(status)) return undefined;
  const { error, error_description: described } = errorFields(jsonBodyOf(request));
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  const hidden = (part: string) => redact(hideCredentials(part, sent));
  const shown = [text(error), text(described)].filter((part) => part !== '').map(hidden);
  return {
    status,
    error: text(error),
    description: text(described),
    shown: shown.length === 0 ? `${status}, without an OAuth error` : `${status} ${shown.join(': ')}`,
  };
}

/** Google's API has an object in `error`, with the code in `status` and the description in `message`. */
function errorFields({ error, error_description }: Readonly<Record<string, unknown>>) {
  if (typeof error !== 'object' || error === null) return { error, error_description };
  const { status, message } = error as Record<string, unknown>;
  return { error: status, error_description: message };
}

/** Whether the server is Entra, by its error numbers or its address. */
export function isEntra({ server, refusal }: FailedExchange): boolean {
  return (
    /AADSTS\d/.test(refusal.description) ||
    /login\.microsoftonline\.|sts\.windows\.net/.test(server.issuer ?? server.tokenEndpoint ?? '')
  );
}
