import type { JWTPayload } from 'jose';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { SentValue } from '../tokens/sent-values.ts';
import { quoteWords, type RefusalWords, refusalWords } from '../tokens/token-response.ts';
import { type Finding, type FindingCode, listed, problem, type ShowClaim } from './finding.ts';
import { jsonBodyOf, type TokenResponse } from './recorded-request.ts';
import { serverPath } from './unreachable.ts';

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

/**
 * A text about the request. `{client}` is cambist's client there, `{server}` a path in the config, `{iss}` and `{aud}` are of the subject
 * token, and the name of a field in `FIELDS` stands for its values.
 */
type Text = string | ((failed: FailedExchange) => string);

/** A cause of a refusal, and the texts of its finding. */
export interface Cause {
  readonly code: FindingCode;
  readonly is: (refusal: OAuthError, form: URLSearchParams, failed: FailedExchange) => boolean;
  readonly what: Text;
  readonly why?: Text;
  readonly fix: Text;
}

/**
 * The fields of a request that a text can name. A text may contain words of the server, so no field that contains a credential is
 * among them.
 */
const FIELDS = [
  'audience',
  'connection',
  'grant_type',
  'requested_token_type',
  'resource',
  'scope',
  'subject_token_type',
] as const;

/** @param causes the most specific comes first and takes precedence */
export function findingOf(failed: FailedExchange, causes: readonly Cause[]): Finding | undefined {
  const { refusal, server, request, subject, show } = failed;
  const { form } = request;
  const cause = causes.find(({ is }) => is(refusal, form, failed));
  if (cause === undefined) return undefined;
  const names = new Map<string, string>([
    ...FIELDS.map((field) => [field, listed(form.getAll(field))] as const),
    ...Object.entries({
      client: `client "${server.clientId ?? ''}"`,
      client_id: server.clientId ?? '',
      method: server.clientAuth.method,
      server: serverPath(server),
      name: server.name,
      iss: subject?.iss === undefined ? 'an issuer that cannot be read' : `issuer "${show(subject.iss)}"`,
      aud: subject?.aud === undefined ? 'has no readable "aud"' : `is for ${listed([subject.aud].flat(), show)}`,
    }),
  ]);
  const filled = (text: Text) =>
    (typeof text === 'string' ? text : text(failed)).replace(
      /\{(\w+)\}/g,
      (written, name: string) => names.get(name) ?? written,
    );
  const { code, what, why, fix } = cause;
  return problem(code, filled(what), { ...(why !== undefined && { why: filled(why) }), fix: filled(fix) });
}

/** Does the server's description match? */
export function says(pattern: RegExp): Cause['is'] {
  return ({ description }) => pattern.test(description);
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

/** Tells whether the server is Entra, by its error numbers or its address. */
export function isEntra({ server, refusal }: FailedExchange): boolean {
  return (
    /AADSTS\d/.test(refusal.description) ||
    /login\.microsoftonline\.|sts\.windows\.net/.test(server.issuer ?? server.tokenEndpoint ?? '')
  );
}
