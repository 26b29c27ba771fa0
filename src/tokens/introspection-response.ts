import type { SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import { isFor } from './audience.ts';
import type { HttpResponse } from './bounded-request.ts';
import { EXPIRY_LEEWAY_MS } from './claims.ts';
import { type JsonObject, parseJsonObject } from './json-object.ts';
import { readRetryAfter } from './retry-after.ts';

/** An active token, as its authorization server describes it. */
export interface Introspected {
  /** `iss` is always set, because the server that was asked vouches for its issuer. */
  readonly claims: JsonObject;
  /** Epoch milliseconds. Undefined where the server does not state it. */
  readonly expiresAtMs: number | undefined;
  /** Length of the response, which bounds the memory of cached results. */
  readonly length: number;
}

/** Longest response, in characters: twice the header that may carry a token. Results are cached by the thousand. */
const MAX_LENGTH = 64 * 1024;

/**
 * Processes the response of an introspection endpoint. Pure.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID for a token that is inactive or breaks the rules; ERR_CLIENT_REFUSED,
 *   ERR_STS_UNAVAILABLE, ERR_STS_RESPONSE_INVALID
 * @see RFC 7662 sections 2.2 and 2.3
 */
export function processIntrospection(
  { status, retryAfter, text }: HttpResponse,
  serverName: string,
  { issuer, audience }: SubjectVerification,
  wallMs: number,
): Introspected {
  if (status >= 500 || status === 429 || status === 408) {
    const retryAfterSeconds = readRetryAfter(retryAfter, wallMs);
    throw new CambistError('ERR_STS_UNAVAILABLE', `${label(serverName)} returned status ${status}`, {
      serverStatus: status,
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
  }
  if (status === 400 || status === 401 || status === 403) {
    throw new CambistError(
      'ERR_CLIENT_REFUSED',
      `${label(serverName)} refused the request with ${status}: check client_id and client_auth, and that this client may introspect tokens`,
      { serverStatus: status },
    );
  }
  const body = status === 200 && text.length <= MAX_LENGTH ? parseJsonObject(text) : undefined;
  if (body === undefined || typeof body.active !== 'boolean') throw unusable(serverName, status);
  if (!body.active) throw refused(serverName, 'is not active');
  const exp = instant(body.exp, 'exp', serverName, status);
  const nbf = instant(body.nbf, 'nbf', serverName, status);
  if (body.iss !== undefined && body.iss !== issuer) throw refused(serverName, 'is of another issuer');
  if (!isFor(body, audience)) throw refused(serverName, 'is for another audience');
  if (isBound(body)) throw refused(serverName, 'is bound to a key or a certificate of its holder');
  if (exp !== undefined && exp + EXPIRY_LEEWAY_MS <= wallMs) throw refused(serverName, 'is expired', true);
  if (nbf !== undefined && nbf - EXPIRY_LEEWAY_MS > wallMs) throw refused(serverName, 'is not valid yet');
  return { claims: { ...body, iss: issuer }, expiresAtMs: exp, length: text.length };
}

/** Epoch milliseconds. */
function instant(value: unknown, name: string, serverName: string, status: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw unusable(serverName, status, `its "${name}" is not a number`);
  }
  return value * 1000;
}

/** Only the holder of the key or the certificate can use such a token (RFC 9449 section 6.2, RFC 8705 section 3.2). */
function isBound({ cnf }: JsonObject): boolean {
  const confirmation = Object(cnf) as JsonObject;
  return confirmation.jkt !== undefined || confirmation['x5t#S256'] !== undefined;
}

function refused(serverName: string, why: string, expired = false): CambistError {
  return new CambistError(
    'ERR_SUBJECT_TOKEN_INVALID',
    `the introspection at authorization server "${serverName}" says that the subject token ${why}`,
    {
      expired,
      ...(!expired && {
        diagnosis: {
          finding: 'introspection_refused',
          cause: `authorization server "${serverName}" says that the caller's token ${why}`,
          fix: 'the caller must obtain a new token. If each token is refused, compare its issuer and audience with verify',
        },
      }),
    },
  );
}

function unusable(
  serverName: string,
  status: number,
  why = 'it does not say whether the token is active',
): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `${label(serverName)} returned an unusable response with status ${status}: ${why}: check introspection.endpoint, and ` +
      'gateways in front of it',
  );
}

function label(serverName: string): string {
  return `the introspection endpoint of authorization server "${serverName}"`;
}
