import type { Route } from '../config/route.ts';
import { formatDuration } from '../config/units.ts';
import { type AuthenticationRequirements, CambistError, errorCode } from '../errors.ts';
import { redact } from '../observability/logged-error.ts';
import { bareToken } from '../tokens/b64-token.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { hideCredentials, sentInAuthorization } from '../tokens/sent-values.ts';
import type { RefusedToken } from './backend-failure.ts';
import { containsToken } from './caller-tokens.ts';
import { insufficientScope } from './challenges.ts';

/** Node's and OpenSSL's codes for an untrusted certificate. */
const CERTIFICATE_CODE =
  /^(?:CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH)/;

/** Their codes for a failed TLS handshake. */
const TLS_CODE = /^(?:ERR_SSL_|EPROTO)/;

/** Codes of llhttp and of too long headers. */
const MALFORMED_CODE = /^(?:HPE_|UND_ERR_HEADERS_OVERFLOW)/;

/** Turns an error of the upstream's connection into the error for the caller. */
export function upstreamError(error: Error, { name, timeouts }: Pick<Route, 'name' | 'timeouts'>): CambistError {
  if (error instanceof CambistError) return error;
  const code = errorCode(error) ?? '';
  const route = `route "${name}": the upstream`;
  if (code === 'UND_ERR_HEADERS_TIMEOUT') {
    const limit = `timeouts.response_headers, which is ${formatDuration(timeouts.responseHeadersMs)}`;
    const message = `${route} sent no response headers within ${limit}: find out why it is slow, or raise the limit`;
    return new CambistError('ERR_UPSTREAM_TIMEOUT', message, { cause: error });
  }
  if (CERTIFICATE_CODE.test(code)) {
    return new CambistError(
      'ERR_UPSTREAM_TLS',
      `${route}'s TLS certificate is not trusted: set tls.ca, or fix the certificate`,
      {
        cause: error,
      },
    );
  }
  if (TLS_CODE.test(code)) {
    const fix = 'its port may serve plain http, or it may require a client certificate: see tls.certificate';
    return new CambistError('ERR_UPSTREAM_TLS', `${route} failed the TLS handshake: ${fix}`, { cause: error });
  }
  if (MALFORMED_CODE.test(code)) {
    return new CambistError('ERR_UPSTREAM_UNREACHABLE', `${route} sent a malformed response`, { cause: error });
  }
  if (code === 'UND_ERR_INVALID_ARG') {
    return new CambistError('ERR_INTERNAL', `${route} cannot be sent this request: it is malformed`, { cause: error });
  }
  return new CambistError('ERR_UPSTREAM_UNREACHABLE', `${route} cannot be reached, or closed the connection`, {
    cause: error,
  });
}

/** @param stallMs for which no byte moved */
export function stalledUpload(routeName: string | undefined, stallMs: number): CambistError {
  const message = `no byte moved for timeouts.stall, which is ${formatDuration(stallMs)}, while the upload waited for the backend`;
  const fix = 'find out why it stopped reading, or raise timeouts.stall';
  return new CambistError('ERR_UPSTREAM_TIMEOUT', `route "${routeName}": ${message}: ${fix}`);
}

/** @param stallMs in which too little arrived */
export function incompleteBody(stallMs: number): CambistError {
  const message = `too little of the request's body arrived within timeouts.stall, which is ${formatDuration(stallMs)}`;
  return new CambistError('ERR_REQUEST_TIMEOUT', `${message}: the caller must send it faster`);
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
