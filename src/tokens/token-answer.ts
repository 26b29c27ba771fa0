import { CambistError, type ErrorCode } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import { isB64Token } from './b64-token.ts';
import type { HttpAnswer } from './bounded-request.ts';
import { findRepeated, hideCredentials, type SentValue } from './sent-values.ts';

/** What cambist takes from a successful answer; everything else in it (refresh and id tokens) is dropped here. */
export interface TokenAnswer {
  readonly accessToken: string;
  /** How it is to be used: as which scheme, or not as one at all. */
  readonly tokenType: TokenType;
  /** Seconds; undefined where the answer does not say, 0 or less where the token is already at its end. */
  readonly expiresInSeconds: number | undefined;
}

/** RFC 6749 section 7.1, RFC 9449 section 5, RFC 8693 section 2.2.1. */
export type TokenType = 'Bearer' | 'DPoP' | 'N_A';

/** What an answer is an answer to. */
export interface AskedFor {
  /** For messages. */
  readonly serverName: string;
  /** Whose is the token that the request bears, if any? */
  readonly bears: "caller's" | 'ours';
  /** What was asked for, which may then come back. */
  readonly requestedTokenType: string | undefined;
  /** A bearer, maybe a bound one as well; or the assertion that the first leg of a chain gives. */
  readonly wanted: 'bearer' | 'bearer_or_dpop' | 'assertion';
  /** The values of the request. The log shows no credential among them, and an issued token must be none of them. */
  readonly sent: readonly SentValue[];
  /** Digests of the values of an earlier leg. */
  readonly sentEarlier?: ReadonlySet<string> | undefined;
}

/** Longest `Retry-After` that is honoured. */
const MAX_RETRY_AFTER_SECONDS = 60;

/** Longest token, in characters: few servers take a header of half that size, and the cache keeps thousands of tokens. */
const MAX_TOKEN_LENGTH = 32 * 1024;

/** Longest claims challenge that is passed on: it goes into a header, and is kept with the refusal. */
const MAX_CLAIMS_LENGTH = 4096;

const TOKEN_TYPES: Record<AskedFor['wanted'], readonly TokenType[]> = {
  bearer: ['Bearer'],
  bearer_or_dpop: ['Bearer', 'DPoP'],
  assertion: ['N_A', 'Bearer'],
};

/** Token types that may be sent as a bearer (RFC 8693 section 3). */
const BEARER_TYPES = new Set(['urn:ietf:params:oauth:token-type:access_token', 'urn:ietf:params:oauth:token-type:jwt']);

/**
 * Reads the answer to a token request. Pure, so every odd answer of every server is a line in a table of tests.
 * @throws {CambistError} whatever the answer means: see `refusal`, and ERR_STS_RESPONSE_INVALID, ERR_STS_UNAVAILABLE
 * @see RFC 8693 section 2.2, RFC 6749 sections 5.1 and 5.2
 */
export function readTokenAnswer(answer: HttpAnswer, asked: AskedFor, wallMs: number): TokenAnswer {
  const { status } = answer;
  const { serverName } = asked;
  if (status >= 500 || status === 429 || status === 408) {
    const retryAfterSeconds = readRetryAfter(answer.retryAfter, wallMs);
    throw new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${serverName}" answered with ${status}`, {
      serverStatus: status,
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
  }
  const body = parseObject(answer.text);
  if (status >= 400) throw refusal(status, body, asked);
  if (status !== 200) throw unusable(serverName, `it answered with status ${status}`);
  if (body === undefined) throw unusable(serverName, 'its answer is no JSON object');
  return readToken(body, asked);
}

/** Does a token endpoint ask for the same request with a nonce (RFC 9449 section 8)? */
export function asksForNonce({ status, text: body }: HttpAnswer): boolean {
  return status >= 400 && status < 500 && parseObject(body)?.error === 'use_dpop_nonce';
}

function readToken(body: JsonObject, asked: AskedFor): TokenAnswer {
  const { serverName } = asked;
  const { access_token: accessToken, issued_token_type: issuedType } = body;
  const repeated =
    typeof accessToken === 'string' ? findRepeated(accessToken, asked.sent, asked.sentEarlier) : undefined;
  if (repeated !== undefined) throw repeats(serverName, repeated);
  if (typeof accessToken !== 'string' || !isB64Token(accessToken)) {
    throw unusable(serverName, 'its "access_token" is missing or no bearer token');
  }
  if (accessToken.length > MAX_TOKEN_LENGTH) {
    throw unusable(serverName, `its "access_token" is longer than ${MAX_TOKEN_LENGTH} characters`);
  }
  const name = text(body.token_type).toLowerCase();
  const usable = TOKEN_TYPES[asked.wanted];
  const tokenType = usable.find((type) => type.toLowerCase() === name);
  if (tokenType === undefined) {
    throw unusable(serverName, `its "token_type" is not ${usable.map((type) => `"${type}"`).join(' or ')}`);
  }
  if (issuedType !== undefined && !isFittingType(issuedType, asked)) {
    throw unusable(serverName, `its "issued_token_type" is none that ${ISSUED_AS[asked.wanted]}`);
  }
  return { accessToken, tokenType, expiresInSeconds: readExpiresIn(body.expires_in, serverName) };
}

const ISSUED_AS: Record<AskedFor['wanted'], string> = {
  bearer: 'may be sent as a bearer',
  bearer_or_dpop: 'may be sent as a bearer',
  assertion: 'was asked for',
};

function isFittingType(issuedType: unknown, { wanted, requestedTokenType }: AskedFor): boolean {
  if (typeof issuedType !== 'string') return false;
  return issuedType === requestedTokenType || (wanted !== 'assertion' && BEARER_TYPES.has(issuedType));
}

/** A number, or at some servers a string of digits. */
function readExpiresIn(value: unknown, serverName: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  const seconds = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds))
    throw unusable(serverName, 'its "expires_in" is no number');
  return seconds;
}

/** What a 4xx means: whose fault it is decides what the caller is told. */
function refusal(status: number, body: JsonObject | undefined, { serverName, bears, sent }: AskedFor): CambistError {
  const error = text(body?.error);
  const description = text(body?.error_description);
  const asked = text(body?.claims);
  const claims = asked.length > MAX_CLAIMS_LENGTH || parseObject(asked) === undefined ? '' : asked;
  const code = refusalCode(error, description, claims, bears);
  const said = [error, description]
    .filter((part) => part !== '')
    .map((part) => redact(hideCredentials(part, sent)))
    .join(': ');
  return new CambistError(
    code,
    `authorization server "${serverName}" refused with ${status}${said === '' ? '' : `, ${said}`}`,
    { oauthError: redact(hideCredentials(error, sent)), ...(code === 'ERR_INTERACTION_REQUIRED' && { claims }) },
  );
}

function refusalCode(error: string, description: string, claims: string, bears: AskedFor['bears']): ErrorCode {
  switch (error) {
    case 'invalid_grant':
    // No error of a token endpoint, but Keycloak's older exchange says so of the subject token.
    case 'invalid_token':
      return ofToken(bears);
    case 'invalid_request':
      if (NO_SUCH_TARGET.test(description)) return 'ERR_EXCHANGE_REFUSED';
      return description === '' || namesSubject(description) ? ofToken(bears) : 'ERR_CLIENT_REFUSED';
    case 'interaction_required':
      // Without claims the user can only sign in anew.
      return claims === '' ? ofToken(bears) : 'ERR_INTERACTION_REQUIRED';
    case 'invalid_target':
    case 'invalid_scope':
    case 'access_denied':
      return 'ERR_EXCHANGE_REFUSED';
    case 'invalid_client':
      // Keycloak says so of an audience that it does not know.
      return /audience not found/i.test(description) ? 'ERR_EXCHANGE_REFUSED' : 'ERR_CLIENT_REFUSED';
    default:
      return 'ERR_CLIENT_REFUSED';
  }
}

/** What Keycloak, and tokendings, say of a backend that this client may not ask for, or that they do not know. */
const NO_SUCH_TARGET =
  /requested audience not available|not authorized to get token with aud=|token exchange audience \S+ is invalid/i;

/**
 * Where "token" and "assertion" mean something of ours: a 401 for that would send the caller to log in for nothing. The last is
 * what tokendings says of the client's assertion, with its reason percent-encoded.
 */
const NOT_THE_SUBJECT =
  /client[_ ]assertion\w*|actor[_ ]token\w*|(?:requested|subject)[_ ]token[_ ]type|token[ _-](?:exchange|endpoint|request)|^token verification failed: \S+$/gi;

function namesSubject(description: string): boolean {
  return /token|assertion/i.test(description.replace(NOT_THE_SUBJECT, ''));
}

/** A refusal of the caller's token is for the caller to fix; of one of ours, a chain's assertion too, a new login fixes nothing. */
function ofToken(bears: AskedFor['bears']): ErrorCode {
  return bears === 'ours' ? 'ERR_CLIENT_REFUSED' : 'ERR_SUBJECT_TOKEN_INVALID';
}

/** IMF-fixdate, and the two older forms that a recipient has to accept (RFC 9110 section 5.6.7). */
const HTTP_DATE = /^(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? [\w :-]+$/;

/**
 * Seconds to wait, from seconds or an HTTP date, held to a bound; undefined where there is none or it makes no sense.
 * @see RFC 9110 section 10.2.3
 */
export function readRetryAfter(value: string | undefined, wallMs: number): number | undefined {
  const seconds = value === undefined ? undefined : parseRetryAfter(value.trim(), wallMs);
  if (seconds === undefined || Number.isNaN(seconds)) return undefined;
  return Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, Math.ceil(seconds)));
}

function parseRetryAfter(value: string, wallMs: number): number | undefined {
  if (/^\d+$/.test(value)) return Number(value);
  if (!HTTP_DATE.test(value)) return undefined;
  // The oldest form names no zone, and means this one.
  return (Date.parse(value.endsWith(' GMT') ? value : `${value} GMT`) - wallMs) / 1000;
}

type JsonObject = Record<string, unknown>;

function parseObject(json: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function repeats(serverName: string, name: string): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `the "access_token" from authorization server "${serverName}" contains the "${name}" of the request: ` +
      'enable token exchange for this client at the server',
  );
}

function unusable(serverName: string, why: string): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `authorization server "${serverName}" gave no usable token: ${why}: see what kind of token it issues to this client`,
  );
}
