import type { JWTPayload } from 'jose';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { SentValue } from '../tokens/sent-values.ts';
import { quoteWords, type RefusalWords, refusalWords } from '../tokens/token-response.ts';
import type { Finding, ShowClaim } from './finding.ts';
import { jsonBodyOf, type TokenResponse } from './recorded-request.ts';

/** An OAuth error response (RFC 6749 section 5.2). */
export interface OAuthError extends RefusalWords {
  readonly status: number;
  /** Status, error and description without anything that may be a token. Safe to show. */
  readonly shown: string;
}

export interface FailedExchange {
  readonly server: AuthorizationServer;
  readonly request: TokenResponse;
  readonly refusal: OAuthError;
  /** Claims of the subject token. Undefined if it is opaque, or the request had none. */
  readonly subject: JWTPayload | undefined;
  /** True for the second exchange of a chain. Its assertion comes from the first. */
  readonly secondLeg: boolean;
  /** The same exchange has succeeded for a caller, so that the client and the target are right. */
  readonly hasSucceeded: boolean;
  /** Writes a claim of the subject token, which any caller may have made up, for the place where it is shown. */
  readonly show: ShowClaim;
}

export function quoting(finding: Finding, { shown }: OAuthError): Finding {
  return { ...finding, what: `${finding.what}: ${shown}` };
}

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
  const words = refusalWords(jsonBodyOf(request));
  const quoted = quoteWords(words, sent);
  return { ...words, status, shown: quoted === '' ? `${status}, without an OAuth error` : `${status} ${quoted}` };
}

/** Tells whether matches follow each other in the description. One expression with `.*` between them would take quadratic time. */
export function inOrder({ description }: OAuthError, ...patterns: readonly RegExp[]): boolean {
  let rest = description;
  return patterns.every((pattern) => {
    const match = pattern.exec(rest);
    if (match !== null) rest = rest.slice(match.index + match[0].length);
    return match !== null;
  });
}

/** Tells whether the server is Entra, by its error numbers or its address. */
export function isEntra({ server, refusal }: FailedExchange): boolean {
  return (
    /AADSTS\d/.test(refusal.description) ||
    /login\.microsoftonline\.|sts\.windows\.net/.test(server.issuer ?? server.tokenEndpoint ?? '')
  );
}
