import type { Route } from '../config/route.ts';
import { formatDuration } from '../config/units.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { type AuthenticationRequirements, CambistError, type Diagnosis, errorCode } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import { addDiagnosis } from '../tokens/diagnosis.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { hideCredentials, sentInAuthorization } from '../tokens/sent-values.ts';
import { bareToken, parseJsonObject, textOf } from '../tokens/token-text.ts';
import { containsToken } from './caller-tokens.ts';
import { type BackendReason, insufficientScope, reasonInChallenges, reasonOf } from './challenges.ts';
import { headerValues, type RawHeaders } from './headers.ts';

/** A token that a backend refuses. Contains the token, and is never shown. */
export interface RefusedToken extends BackendReason {
  readonly authorization: string;
}

/** Explains failures of backends. Returns undefined where the error itself says everything. */
export interface BackendDiagnoses {
  refusedToken(refused: RefusedToken): Diagnosis | undefined;
  unreachable(route: Route, error: Error): Diagnosis | undefined;
}

export interface DiagnosisOptions {
  /** Loads the catalogue, at the first failure. Undefined: nothing explains failures. */
  readonly diagnoses?: (() => Promise<BackendDiagnoses>) | undefined;
}

/**
 * Makes the error for a token that the backend refuses, with the backend's reason.
 * @param ending of the sentence: the reason for making no further attempt
 */
export async function explainRefusal(
  route: Route,
  ending: string,
  response: RefusedResponse,
  { diagnoses }: DiagnosisOptions,
): Promise<CambistError> {
  const reason = await response.reason();
  const authorization = response.token.authorization.reveal();
  const refused = { ...reason, authorization };
  const error = refusedToken(route, ending, refused);
  // Diagnoses know issued tokens only.
  if (route.credential.kind !== 'secret') {
    await addDiagnosis(error, diagnoses, (catalogue) => catalogue.refusedToken(refused));
  }
  return error;
}

/** Turns an error of the upstream's connection into the error for the caller, with its cause. */
export async function explainUnreachable(
  caught: Error,
  route: Route,
  { diagnoses }: DiagnosisOptions,
): Promise<CambistError> {
  const error = upstreamError(caught, route);
  const isConnection = error.code === 'ERR_UPSTREAM_UNREACHABLE' || error.code === 'ERR_UPSTREAM_TLS';
  if (isConnection) await addDiagnosis(error, diagnoses, (catalogue) => catalogue.unreachable(route, caught));
  return error;
}

/** Errors of a connection by the codes of Node, OpenSSL, llhttp and undici: what the message says of the upstream. */
const CONNECTION_ERRORS: readonly (readonly [codes: RegExp, code: ErrorCode, what: string])[] = [
  [
    /^(?:CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH)/,
    'ERR_UPSTREAM_TLS',
    "'s TLS certificate is not trusted: set tls.ca, or fix the certificate",
  ],
  [
    /^(?:ERR_SSL_|EPROTO)/,
    'ERR_UPSTREAM_TLS',
    ' failed the TLS handshake: its port may serve plain http, or it may require a client certificate: see tls.certificate',
  ],
  [/^(?:HPE_|UND_ERR_HEADERS_OVERFLOW)/, 'ERR_UPSTREAM_UNREACHABLE', ' sent a malformed response'],
  [/^UND_ERR_INVALID_ARG$/, 'ERR_INTERNAL', ' cannot be sent this request: it is malformed'],
  [/^/, 'ERR_UPSTREAM_UNREACHABLE', ' cannot be reached, or closed the connection'],
];

/** Turns an error of the upstream's connection into the error for the caller. */
export function upstreamError(error: Error, { name, timeouts }: Pick<Route, 'name' | 'timeouts'>): CambistError {
  if (error instanceof CambistError) return error;
  const found = errorCode(error) ?? '';
  const route = `route "${name}": the upstream`;
  if (found === 'UND_ERR_HEADERS_TIMEOUT') {
    const limit = `timeouts.response_headers, which is ${formatDuration(timeouts.responseHeadersMs)}`;
    const message = `${route} sent no response headers within ${limit}: find out why it is slow, or raise the limit`;
    return new CambistError('ERR_UPSTREAM_TIMEOUT', message, { cause: error });
  }
  const [, code, what] = CONNECTION_ERRORS.find(([codes]) => codes.test(found)) as (typeof CONNECTION_ERRORS)[number];
  return new CambistError(code, route + what, { cause: error });
}

export function expiredTwice(route: Route): CambistError {
  return new CambistError(
    'ERR_UPSTREAM_UNREACHABLE',
    `route "${route.name}": connecting to the upstream took longer than a token lives, twice: find out why it takes so long`,
  );
}

/**
 * The error for a backend that wants another sign-in of the user. Its requirements are passed on, but never the issued token.
 * @see RFC 9470 section 3
 */
export function signInWanted(
  { name }: Route,
  { acrValues, ...others }: AuthenticationRequirements,
  token: IssuedToken,
): CambistError {
  const isPassedOn = acrValues !== undefined && !containsToken(acrValues, [bareToken(token.authorization.reveal())]);
  return new CambistError(
    'ERR_INTERACTION_REQUIRED',
    `route "${name}": the upstream requires the user to sign in more recently, or in a stronger way`,
    { authentication: { ...others, ...(isPassedOn && { acrValues }) } },
  );
}

/** Enough for the scopes of one tool. */
const MAX_SCOPES_LENGTH = 200;

/**
 * The scopes that a backend asks for in a 403, for the log.
 * @param challenges all values of `WWW-Authenticate`
 * @param token the token that the backend refused, which is hidden in them
 */
export function missingScopes(challenges: readonly string[], token: IssuedToken | undefined): string | undefined {
  const scopes = insufficientScope(challenges)?.join(' ');
  if (scopes === undefined || token === undefined) return undefined;
  return redact(hideCredentials(scopes, sentInAuthorization(token.authorization.reveal()))).slice(0, MAX_SCOPES_LENGTH);
}

/**
 * @param ending of the sentence: the reason for making no further attempt
 * @param refused the backend's reason and the token, which is hidden in it
 */
export function refusedToken(
  route: Route,
  ending: string,
  { error, description, authorization }: RefusedToken,
): CambistError {
  const sent = sentInAuthorization(authorization);
  const hidden = (part: string) => redact(hideCredentials(part, sent));
  const said = [error, description].filter((part) => part !== '').map(hidden);
  const reason = said.length === 0 ? 'it gave no reason' : `it says ${said.join(': ')}`;
  const [what, fix] =
    route.credential.kind === 'secret'
      ? ['the secret', 'write a valid one into the file, and check "send"']
      : [
          'a token that was issued for it',
          'check which issuer, audience, scope, signing key and algorithm it expects, and its clock',
        ];
  return new CambistError(
    'ERR_UPSTREAM_REFUSED_TOKEN',
    `route "${route.name}": the upstream refused ${what}, ${ending}; ${reason}: ${fix}`,
    error === '' ? {} : { oauthError: hidden(error) },
  );
}

const NO_REASON: BackendReason = { error: '', description: '' };

/** Error messages are shorter. */
const MAX_BODY_BYTES = 8 * 1024;

/** A caller waits for its error meanwhile. */
const BODY_TIMEOUT_MS = 500;

/** The 401 of a backend to an issued token: keeps its reason, which is usually in the challenge, else in a short JSON body. */
export class RefusedResponse {
  readonly token: IssuedToken;
  readonly #fromChallenge: BackendReason | undefined;
  readonly #body: Promise<string> | undefined;
  #chunks: Buffer[] = [];
  #size = 0;
  #settle: ((text: string) => void) | undefined;

  constructor(token: IssuedToken, headers: RawHeaders) {
    this.token = token;
    this.#fromChallenge = reasonInChallenges(headerValues(headers, 'www-authenticate'));
    const isJson = /[/+]json\b/i.test(headerValues(headers, 'content-type')[0] ?? '');
    if (this.#fromChallenge === undefined && isJson) {
      this.#body = new Promise((resolve) => {
        this.#settle = resolve;
      });
    }
  }

  data(chunk: Buffer): void {
    if (this.#settle === undefined) return;
    this.#size += chunk.length;
    if (this.#size > MAX_BODY_BYTES) {
      this.#chunks = [];
      this.end();
    } else {
      this.#chunks.push(chunk);
    }
  }

  end(): void {
    this.#settle?.(Buffer.concat(this.#chunks).toString('utf8'));
    this.#settle = undefined;
  }

  /** Waits for a short body, but not long: a backend may never finish it. */
  async reason(): Promise<BackendReason> {
    if (this.#body === undefined) return this.#fromChallenge ?? NO_REASON;
    const timer = setTimeout(() => this.end(), BODY_TIMEOUT_MS);
    const text = await this.#body;
    clearTimeout(timer);
    return reasonInBody(text) ?? NO_REASON;
  }
}

/** Reads the words of OAuth, of RFC 9457, of JSON-RPC, and of common frameworks. */
function reasonInBody(text: string): BackendReason | undefined {
  const body = parseJsonObject(text);
  if (body === undefined) return undefined;
  const nested = Object(body.error) as Record<string, unknown>;
  const description = [body.error_description, body.detail, body.message, nested.message, body.title];
  return reasonOf(textOf(body.error), description.map(textOf).find((part) => part !== '') ?? '');
}
