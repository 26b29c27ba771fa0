import { jwtVerify } from 'jose';
import { type ImitatedRequest, type Imitation, Refused } from './imitation.ts';

/** Which client a request shows to be, by the one way that a server takes; else 401 `invalid_client`. */

export function basicClient(
  { authorization, form }: ImitatedRequest,
  { clientSecret }: Imitation,
  decode = formDecode,
) {
  const [, encoded = ''] = /^Basic ([A-Za-z0-9+/=]+)$/.exec(authorization ?? '') ?? [];
  const [id = '', secret = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':').map(decode);
  if (secret !== clientSecret || id === '') throw new Refused(401, 'invalid_client', 'Invalid client credentials');
  // RFC 6749 section 2.3: no more than one method a request.
  if (form.has('client_secret') || form.has('client_assertion')) throw new Refused(400, 'invalid_request');
  return id;
}

/** For a server that takes what stands in the header as it is. */
export function asItIs(part: string): string {
  return part;
}

export function postClient({ authorization, form }: ImitatedRequest, { clientSecret }: Imitation): string {
  if (authorization !== undefined || form.get('client_secret') !== clientSecret) {
    throw new Refused(401, 'invalid_client', 'Invalid client credentials');
  }
  return one(form, 'client_id');
}

export interface AssertionRules {
  readonly audience: string;
  readonly algorithms: string[];
  readonly maxLifeSeconds: number;
  /** How it refuses an assertion for another audience, or one that lives too long; as any other one unless given. */
  readonly wrongAudience?: Refused;
  readonly wrongLife?: Refused;
}

/** @returns the client and the header of its assertion */
export async function assertionClient(
  { authorization, form }: ImitatedRequest,
  server: Imitation,
  rules: AssertionRules,
) {
  const refused = new Refused(401, 'invalid_client', 'Client assertion is invalid');
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  if (authorization !== undefined || server.clientKey === undefined) throw refused;
  if (one(form, 'client_assertion_type') !== type) throw refused;
  const { audience, algorithms, maxLifeSeconds, wrongAudience = refused, wrongLife = refused } = rules;
  const { payload, protectedHeader } = await jwtVerify(one(form, 'client_assertion'), server.clientKey, {
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

/** The one value of a parameter; none, or several, are `invalid_request`. */
export function one(form: URLSearchParams, name: string): string {
  const [value, ...more] = form.getAll(name);
  if (value === undefined || value === '') throw new Refused(400, 'invalid_request', `Missing parameter: ${name}`);
  if (more.length > 0) throw new Refused(400, 'invalid_request', `Parameter ${name} is repeated`);
  return value;
}

/** Token exchange and nothing else. */
export function wantExchange(form: URLSearchParams): void {
  if (one(form, 'grant_type') !== 'urn:ietf:params:oauth:grant-type:token-exchange') {
    throw new Refused(400, 'unsupported_grant_type');
  }
}

/** One of these types of subject token, by its short name or URN. */
export function wantSubjectType(form: URLSearchParams, ...types: string[]): void {
  const type = one(form, 'subject_token_type');
  const known = types.map((name) => (name.includes(':') ? name : `urn:ietf:params:oauth:token-type:${name}`));
  if (!known.includes(type)) throw new Refused(400, 'invalid_request', 'Unsupported subject_token_type');
}

function formDecode(part: string): string {
  return decodeURIComponent(part.replaceAll('+', ' '));
}
