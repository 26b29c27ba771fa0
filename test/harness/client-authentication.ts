import { jwtVerify } from 'jose';
import { OAuthError, type SimulatedRequest, type SimulatedServer } from './simulated-server.ts';

/** These functions authenticate a client by the one method that a server supports, or throw 401 `invalid_client`. */

export function authenticateBasic(
  { authorization, form }: SimulatedRequest,
  { clientSecret }: SimulatedServer,
  decode = formDecode,
) {
  const [, encoded = ''] = /^Basic ([A-Za-z0-9+/=]+)$/.exec(authorization ?? '') ?? [];
  const [id = '', secret = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':').map(decode);
  if (secret !== clientSecret || id === '') throw new OAuthError(401, 'invalid_client', 'Invalid client credentials');
  // RFC 6749 section 2.3: one method in each request.
  if (form.has('client_secret') || form.has('client_assertion')) throw new OAuthError(400, 'invalid_request');
  return id;
}

/** For a server that does not decode the parts of the header. */
export function verbatim(part: string): string {
  return part;
}

export function authenticatePost({ authorization, form }: SimulatedRequest, { clientSecret }: SimulatedServer): string {
  if (authorization !== undefined || form.get('client_secret') !== clientSecret) {
    throw new OAuthError(401, 'invalid_client', 'Invalid client credentials');
  }
  return singleValue(form, 'client_id');
}

export interface AssertionRules {
  readonly audience: string;
  readonly algorithms: string[];
  readonly maxLifeSeconds: number;
  /** Errors for a wrong audience and for a lifetime that is too long. The default is the error of other invalid assertions. */
  readonly wrongAudience?: OAuthError;
  readonly wrongLife?: OAuthError;
}

/** @returns the client id and the header of the assertion */
export async function authenticateAssertion(
  { authorization, form }: SimulatedRequest,
  server: SimulatedServer,
  rules: AssertionRules,
) {
  const refused = new OAuthError(401, 'invalid_client', 'Client assertion is invalid');
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  if (authorization !== undefined || server.clientKey === undefined) throw refused;
  if (singleValue(form, 'client_assertion_type') !== type) throw refused;
  const { audience, algorithms, maxLifeSeconds, wrongAudience = refused, wrongLife = refused } = rules;
  const { payload, protectedHeader } = await jwtVerify(singleValue(form, 'client_assertion'), server.clientKey, {
    algorithms,
    requiredClaims: ['iss', 'sub', 'exp', 'jti'],
  }).catch(() => {
    throw refused;
  });
  const { iss = '', sub, exp = 0, iat = 0 } = payload;
  if (payload.aud !== audience) throw wrongAudience;
  if (exp - iat > maxLifeSeconds) throw wrongLife;
  if (iss !== sub) throw refused;
  return { client: iss, header: protectedHeader };
}

/** Returns the only value of a parameter. A missing or repeated parameter is an `invalid_request`. */
export function singleValue(form: URLSearchParams, name: string): string {
  const [value, ...more] = form.getAll(name);
  if (value === undefined || value === '') throw new OAuthError(400, 'invalid_request', `Missing parameter: ${name}`);
  if (more.length > 0) throw new OAuthError(400, 'invalid_request', `Parameter ${name} is repeated`);
  return value;
}

/** Refuses other grants than token exchange. */
export function requireTokenExchange(form: URLSearchParams): void {
  if (singleValue(form, 'grant_type') !== 'urn:ietf:params:oauth:grant-type:token-exchange') {
    throw new OAuthError(400, 'unsupported_grant_type');
  }
}

/** Refuses other types of subject tokens than these, given by short name or URN. */
export function requireSubjectTokenType(form: URLSearchParams, ...types: string[]): void {
  const type = singleValue(form, 'subject_token_type');
  const known = types.map((name) => (name.includes(':') ? name : `urn:ietf:params:oauth:token-type:${name}`));
  if (!known.includes(type)) throw new OAuthError(400, 'invalid_request', 'Unsupported subject_token_type');
}

function formDecode(part: string): string {
  return decodeURIComponent(part.replaceAll('+', ' '));
}
