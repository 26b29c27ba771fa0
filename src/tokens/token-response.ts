import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import { type HttpResponse, isPassing, passingError } from './bounded-request.ts';
import { type InteractionFacts, interactionOf, urlsIn } from './interaction.ts';
import { findRepeated, hideCredentials, type SentValue } from './sent-values.ts';
import { isB64Token, isJsonObject, type JsonObject, parseJsonObject, textOf } from './token-text.ts';

/** The facts about a request that decide what its refusal means. */
interface RefusalFacts extends InteractionFacts {
  readonly serverName: string;
  /** Owner of the token or assertion in the request: cambist owns the assertion of a chain. */
  readonly credentialOwner: 'caller' | 'cambist';
}

/**
 * Maps a 4xx of a token endpoint to an error, by whose credential or configuration is at fault.
 * @see RFC 6749 section 5.2
 */
export function toRefusal(status: number, body: JsonObject | undefined, facts: RefusalFacts): CambistError {
  const { serverName, credentialOwner } = facts;
  const words = refusalWords(body);
  const interaction = body === undefined ? undefined : interactionOf(body, facts);
  const code = interaction?.code ?? codeOf(words, credentialOwner);
  const sent = [...facts.sent, ...urlsIn(body)];
  const reason = quoteWords(words, sent);
  const note = interaction?.note === undefined ? '' : `; ${interaction.note}`;
  return new CambistError(
    code,
    `authorization server "${serverName}" refused with ${status}${reason === '' ? '' : `, ${reason}`}${note}`,
    { oauthError: quote(words.error, sent), ...interaction?.options },
  );
}

/** The words of a refusal. Unredacted, for matching only. */
export interface RefusalWords {
  readonly error: string;
  readonly description: string;
}

/** Bounds the work of every expression that searches the words. No known server writes more. */
const MAX_LENGTH = 2048;

/** Reads the words of a refusal, shortened. Google's `error` is an object: the code in `status`, the description in `message`. */
export function refusalWords(body: JsonObject | undefined): RefusalWords {
  const { error, error_description: description } = body ?? {};
  const [code, text] = isJsonObject(error) ? [error.status, error.message] : [error, description];
  return { error: textOf(code).slice(0, MAX_LENGTH), description: textOf(text).slice(0, MAX_LENGTH) };
}

/** Error and description without anything that may be a token. Safe to show. */
export function quoteWords({ error, description }: RefusalWords, sent: readonly SentValue[]): string {
  return [error, description]
    .filter((part) => part !== '')
    .map((part) => quote(part, sent))
    .join(': ');
}

function quote(text: string, sent: readonly SentValue[]): string {
  const hidden = hideCredentials(text, sent);
  if (text.length < MAX_LENGTH) return redact(hidden);
  // A shortened text may end within a credential.
  const longest = Math.max(0, ...sent.map(({ value }) => value.length));
  return redact(hidden.slice(0, Math.max(0, hidden.length - longest)));
}

type CredentialOwner = RefusalFacts['credentialOwner'];

function codeOf({ error, description }: RefusalWords, owner: CredentialOwner): ErrorCode {
  switch (error) {
    case 'invalid_grant':
    // Token endpoints do not define this error, but Keycloak's legacy exchange uses it for the subject token.
    case 'invalid_token':
      return credentialRefused(owner);
    case 'invalid_request':
      if (UNKNOWN_TARGET.test(description)) return 'ERR_EXCHANGE_REFUSED';
      return description === '' || namesSubject(description) ? credentialRefused(owner) : 'ERR_CLIENT_REFUSED';
    // Without a claim or a URL the user can only sign in again.
    case 'interaction_required':
      return credentialRefused(owner);
    case 'invalid_target':
    case 'invalid_scope':
    case 'access_denied':
      return 'ERR_EXCHANGE_REFUSED';
    case 'invalid_client':
      // Keycloak uses it for an unknown audience, too.
      return /audience not found/i.test(description) ? 'ERR_EXCHANGE_REFUSED' : 'ERR_CLIENT_REFUSED';
    default:
      return 'ERR_CLIENT_REFUSED';
  }
}

/** Descriptions by Keycloak and tokendings of a backend that is unknown, or that this client may not request. */
const UNKNOWN_TARGET =
  /requested audience not available|not authorized to get token with aud=|token exchange audience \S+ is invalid/i;

/**
 * Phrases in which "token" and "assertion" do not mean the subject token. A 401 for one of them would send the caller to a
 * useless login. The last phrase is how tokendings refuses a client assertion, with a percent-encoded reason.
 */
const NOT_THE_SUBJECT =
  /client[_ ]assertion\w*|actor[_ ]token\w*|(?:requested|subject)[_ ]token[_ ]type|token[ _-](?:exchange|endpoint|request)|^token verification failed: \S+$/gi;

function namesSubject(description: string): boolean {
  return /token|assertion/i.test(description.replace(NOT_THE_SUBJECT, ''));
}

/** The caller can replace its own token. A new login does not replace our credential, or the assertion of a chain. */
function credentialRefused(owner: CredentialOwner): ErrorCode {
  return owner === 'cambist' ? 'ERR_CLIENT_REFUSED' : 'ERR_SUBJECT_TOKEN_INVALID';
}

/** The part of a successful response that cambist uses. Everything else, such as refresh and ID tokens, is dropped. */
export interface TokenResponse {
  readonly accessToken: string;
  readonly tokenType: TokenType;
  /** Seconds; undefined when the response lacks it, 0 or less when the token is expired already. */
  readonly expiresInSeconds: number | undefined;
  /** The response may lack it when it equals the scope of the request. */
  readonly scope?: string | undefined;
}

/** A token is sent with a scheme, or not in an `Authorization` header (RFC 6749 section 7.1, RFC 9449 section 5, RFC 8693 section 2.2.1). */
export type TokenType = 'Bearer' | 'DPoP' | 'N_A';

/** The facts about a request that decide how its response is processed. An issued token must repeat none of the values in `sent`. */
export interface ExpectedResponse extends RefusalFacts {
  readonly requestedTokenType: string | undefined;
  /** `bearer_or_dpop` also accepts a token that is bound to our key. `assertion` is the result of a chain's first leg. */
  readonly kind: 'bearer' | 'bearer_or_dpop' | 'assertion';
  /** Digests of the values of an earlier leg. */
  readonly sentEarlier?: ReadonlySet<string> | undefined;
}

/** Longest token, in characters. Few servers accept a header of half that size, and the cache keeps thousands of tokens. */
const MAX_TOKEN_LENGTH = 32 * 1024;

const TOKEN_TYPES: Record<ExpectedResponse['kind'], readonly TokenType[]> = {
  bearer: ['Bearer'],
  bearer_or_dpop: ['Bearer', 'DPoP'],
  assertion: ['N_A', 'Bearer'],
};

/** Issued token types that may be sent as a bearer token (RFC 8693 section 3). */
const BEARER_TYPES = new Set(['urn:ietf:params:oauth:token-type:access_token', 'urn:ietf:params:oauth:token-type:jwt']);

/**
 * Errors of the authorization endpoint (RFC 6749 section 4.1.2.1) that servers such as Entra ID also use here. They do not blame
 * cambist's client.
 */
const PASSING_ERRORS: ReadonlySet<string> = new Set(['temporarily_unavailable', 'server_error']);

/**
 * Processes the response to a token request. Pure, so that a test table can hold the odd responses of every server.
 * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_RESPONSE_INVALID, and the codes of `toRefusal`
 * @see RFC 8693 section 2.2, RFC 6749 sections 5.1 and 5.2
 */
export function processTokenResponse(
  response: HttpResponse,
  expected: ExpectedResponse,
  wallMs: number,
): TokenResponse {
  const { status } = response;
  const { serverName } = expected;
  const body = parseJsonObject(response.text);
  const saysSo = status >= 400 && PASSING_ERRORS.has(textOf(body?.error));
  if (isPassing(status) || saysSo) {
    const what = saysSo ? `${status}, ${textOf(body?.error)}` : `${status}`;
    throw passingError(`authorization server "${serverName}" returned status ${what}`, response, wallMs);
  }
  if (status >= 400) {
    // Without an error it is unknown what was refused, and whether the authorization server was reached at all. Google's is an object.
    if (body === undefined || !hasError(body)) throw notOAuth(serverName, status);
    throw toRefusal(status, body, expected);
  }
  if (status !== 200) throw unusable(serverName, `it returned status ${status}`);
  if (body === undefined) throw unusable(serverName, 'its response is not a JSON object');
  return readToken(body, expected);
}

function hasError({ error }: JsonObject): boolean {
  return textOf(error) !== '' || (typeof error === 'object' && error !== null);
}

/** Does a token endpoint want the same request again, with a nonce (RFC 9449 section 8)? */
export function asksForNonce({ status, text }: HttpResponse): boolean {
  return status >= 400 && status < 500 && parseJsonObject(text)?.error === 'use_dpop_nonce';
}

/**
 * Checks the form of a token, and that it repeats nothing of its request.
 * @throws {CambistError} ERR_STS_RESPONSE_INVALID
 */
export function checkToken(
  token: string,
  { serverName, sent, sentEarlier }: Pick<ExpectedResponse, 'serverName' | 'sent' | 'sentEarlier'>,
): void {
  if (token.length > MAX_TOKEN_LENGTH) {
    throw unusable(serverName, `its "access_token" is longer than ${MAX_TOKEN_LENGTH} characters`);
  }
  const repeated = findRepeated(token, sent, sentEarlier);
  if (repeated !== undefined) throw repeatsRequest(serverName, repeated);
  if (!isB64Token(token)) throw unusable(serverName, 'its "access_token" is missing or malformed');
}

function readToken(body: JsonObject, expected: ExpectedResponse): TokenResponse {
  const { serverName } = expected;
  const accessToken = textOf(body.access_token);
  checkToken(accessToken, expected);
  const name = textOf(body.token_type).toLowerCase();
  const accepted = TOKEN_TYPES[expected.kind];
  const tokenType = accepted.find((type) => type.toLowerCase() === name);
  if (tokenType === undefined) {
    throw unusable(serverName, `its "token_type" is not ${accepted.map((type) => `"${type}"`).join(' or ')}`);
  }
  if (body.issued_token_type !== undefined && !isAcceptedType(body.issued_token_type, expected)) {
    const reason = expected.kind === 'assertion' ? 'was not requested' : 'is not a bearer token';
    throw unusable(serverName, `its "issued_token_type" ${reason}`);
  }
  const scope = typeof body.scope === 'string' ? body.scope : undefined;
  return { accessToken, tokenType, expiresInSeconds: readExpiresIn(body.expires_in, serverName), scope };
}

function isAcceptedType(issuedType: unknown, { kind, requestedTokenType }: ExpectedResponse): boolean {
  if (typeof issuedType !== 'string') return false;
  return issuedType === requestedTokenType || (kind !== 'assertion' && BEARER_TYPES.has(issuedType));
}

/** Some servers send a string of digits instead of a number. */
function readExpiresIn(value: unknown, serverName: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  const seconds = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds)) {
    throw unusable(serverName, 'its "expires_in" is not a number');
  }
  return seconds;
}

function repeatsRequest(serverName: string, name: string): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `the "access_token" from authorization server "${serverName}" contains the "${name}" of the request: ` +
      'enable token exchange for this client at the server',
  );
}

function unusable(serverName: string, why: string): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `authorization server "${serverName}" issued no usable token: ${why}: check the tokens that it issues to this client`,
  );
}

function notOAuth(serverName: string, status: number): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `authorization server "${serverName}" returned status ${status} without an OAuth error: check the URL of the token ` +
      'endpoint, and gateways and firewalls in front of it',
  );
}
