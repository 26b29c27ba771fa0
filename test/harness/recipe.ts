import { generateKeyPairSync, type KeyObject, type KeyPairKeyObjectResult, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { decodeJwt, exportJWK, generateKeyPair, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { parse } from 'yaml';
import { startTestApp } from './app.ts';
import { createCertificateAuthority } from './certificates.ts';
import { sendResponse } from './fake-authorization-server.ts';
import { echo, startFakeUpstream } from './fake-upstream.ts';
import { call } from './http-call.ts';
import { startHttpServer } from './http-server.ts';
import { temporaryFolder } from './lifetime.ts';

/** The backend of a recipe whose authorization server takes `resource`. */
export const RESOURCE = 'https://github-mcp.example.com/mcp';

export interface SimulatedRequest {
  readonly form: URLSearchParams;
  readonly path: string;
  /** The value of `Authorization`; undefined if it is missing. */
  readonly authorization: string | undefined;
}

interface SimulatedResponse {
  readonly status: number;
  readonly body: unknown;
}

/** The rules of a simulated authorization server. It is as strict as the real product. */
export interface SimulationRules {
  readonly tokenPath: string;
  /** Path of the token endpoint of a second issuer on the same host. */
  readonly secondTokenPath?: string;
  /** Handles a token request. @throws OAuthError */
  token(request: SimulatedRequest, server: SimulatedServer): Promise<Record<string, unknown>>;
  /** Secret of the client. The default is random. */
  readonly clientSecret?: string;
  /** Overrides the response of a metadata path. */
  metadata?(path: string, origin: string): SimulatedResponse | undefined;
}

export interface SimulatedServer {
  readonly origin: string;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly clientSecret: string;
  clientKey: KeyObject | undefined;
  readonly requests: readonly SimulatedRequest[];
  /** Issues a token. @param type `typ` of its header */
  mint(claims: JWTPayload, type?: string): Promise<string>;
  /** Returns the claims of a token with any audience; undefined if it is invalid or expired. */
  read(token: string | null): Promise<JWTPayload | undefined>;
  close(): Promise<void>;
}

/** An error response of the token endpoint. */
export class OAuthError extends Error {
  readonly status: number;
  readonly body: Record<string, unknown>;

  constructor(status: number, error: string, description = '', more: Record<string, unknown> = {}) {
    super(error);
    this.status = status;
    this.body = { error, ...(description !== '' && { error_description: description }), ...more };
  }
}

const ALG = 'RS256';
const LIFE_SECONDS = 300;

/** Keys of servers that have closed, because generating an RSA key takes a third of a second of CPU time. */
const unusedKeys = new Set<Awaited<ReturnType<typeof generateKeyPair>>>();

/** @param issuerPath the issuer of the recipe without its origin; can be `/` */
async function startSimulatedServer(rules: SimulationRules, issuerPath: string): Promise<SimulatedServer> {
  const keys = [...unusedKeys][0] ?? (await generateKeyPair(ALG));
  unusedKeys.delete(keys);
  const jwk = { ...(await exportJWK(keys.publicKey)), alg: ALG, use: 'sig', kid: 'imitated' };
  const requests: SimulatedRequest[] = [];
  const http = await startHttpServer((message, response) => {
    respond(message).then(
      ({ status, body }) => sendResponse(response, status, body),
      (error: unknown) => sendResponse(response, 500, String(error)),
    );
  });
  const issuer = `${http.url}${issuerPath}`;
  const server: SimulatedServer = {
    origin: http.url,
    issuer,
    tokenEndpoint: `${http.url}${rules.tokenPath}`,
    clientSecret: rules.clientSecret ?? randomBytes(24).toString('base64url'),
    clientKey: undefined,
    requests,
    mint: (claims, type) =>
      new SignJWT({ jti: randomUUID(), sub: 'alice', ...claims })
        .setProtectedHeader({ alg: ALG, kid: 'imitated', ...(type !== undefined && { typ: type }) })
        .setIssuer(claims.iss ?? issuer)
        .setIssuedAt()
        .setExpirationTime(`${LIFE_SECONDS}s`)
        .sign(keys.privateKey),
    read: (token) =>
      jwtVerify(token ?? '', keys.publicKey, { issuer }).then(
        ({ payload }) => payload,
        () => undefined,
      ),
    async close() {
      await http.close();
      unusedKeys.add(keys);
    },
  };
  return server;

  async function respond(message: IncomingMessage): Promise<SimulatedResponse> {
    const { pathname } = new URL(message.url ?? '/', http.url);
    const isTokenPath = pathname === rules.tokenPath || pathname === rules.secondTokenPath;
    if (message.method === 'POST' && isTokenPath) return respondToToken(message, pathname);
    if (pathname.endsWith('/jwks')) return { status: 200, body: { keys: [jwk] } };
    if (!pathname.includes('/.well-known/')) return { status: 404, body: '' };
    const document = { issuer, token_endpoint: server.tokenEndpoint, jwks_uri: `${http.url}/jwks` };
    return rules.metadata?.(pathname, http.url) ?? { status: 200, body: document };
  }

  async function respondToToken(message: IncomingMessage, path: string): Promise<SimulatedResponse> {
    const { authorization } = message.headers;
    const request = { form: new URLSearchParams(await text(message)), path, authorization };
    requests.push(request);
    try {
      return { status: 200, body: await rules.token(request, server) };
    } catch (error) {
      if (error instanceof OAuthError) return { status: error.status, body: error.body };
      throw error;
    }
  }
}

/** The body of a successful token response. */
export function issued(accessToken: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    access_token: accessToken,
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
    expires_in: LIFE_SECONDS,
    ...more,
  };
}

/** Fails the token request with this error unless the condition holds. */
export function refuseUnless(isMet: boolean, error: string, description = '', status = 400): asserts isMet {
  if (!isMet) throw new OAuthError(status, error, description);
}

/** These functions authenticate a client by the one method that a server supports, or throw 401 `invalid_client`. */

/** Requires a token exchange as well. */
export function authenticateBasic(
  { authorization, form }: SimulatedRequest,
  { clientSecret }: SimulatedServer,
  decode = formDecode,
) {
  const [, encoded = ''] = /^Basic ([A-Za-z0-9+/=]+)$/.exec(authorization ?? '') ?? [];
  const [id = '', secret = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':').map(decode);
  refuseUnless(secret === clientSecret && id !== '', 'invalid_client', 'Invalid client credentials', 401);
  // RFC 6749 section 2.3: one method in each request.
  refuseUnless(!form.has('client_secret') && !form.has('client_assertion'), 'invalid_request');
  requireTokenExchange(form);
  return id;
}

/** Serves as `decode` of a server that does not decode the parts of the header. */
export function verbatim(part: string): string {
  return part;
}

export function authenticatePost({ authorization, form }: SimulatedRequest, { clientSecret }: SimulatedServer): string {
  const isClient = authorization === undefined && form.get('client_secret') === clientSecret;
  refuseUnless(isClient, 'invalid_client', 'Invalid client credentials', 401);
  return singleValue(form, 'client_id');
}

interface AssertionRules {
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
  refuseUnless(value !== undefined && value !== '', 'invalid_request', `Missing parameter: ${name}`);
  refuseUnless(more.length === 0, 'invalid_request', `Parameter ${name} is repeated`);
  return value;
}

export function requireTokenExchange(form: URLSearchParams): void {
  const isExchange = singleValue(form, 'grant_type') === 'urn:ietf:params:oauth:grant-type:token-exchange';
  refuseUnless(isExchange, 'unsupported_grant_type');
}

/** Returns the claims of the subject token, or refuses an invalid one with this error. */
export async function requireSubject(form: URLSearchParams, server: SimulatedServer, error: string, description = '') {
  const subject = await server.read(form.get('subject_token') ?? form.get('assertion'));
  refuseUnless(subject !== undefined, error, description);
  return subject;
}

/** Refuses other types of subject tokens than these, given by short name or URN. */
export function requireSubjectTokenType(form: URLSearchParams, ...types: string[]): void {
  const type = singleValue(form, 'subject_token_type');
  const known = types.map((name) => (name.includes(':') ? name : `urn:ietf:params:oauth:token-type:${name}`));
  refuseUnless(known.includes(type), 'invalid_request', 'Unsupported subject_token_type');
}

function formDecode(part: string): string {
  return decodeURIComponent(part.replaceAll('+', ' '));
}

/** A config with the keys of the file. */
interface RecipeConfig {
  authorization_servers: Record<string, Record<string, unknown>>;
  routes: Record<string, unknown>[];
  defaults?: Record<string, unknown>;
  [key: string]: unknown;
}

const FOLDER = new URL('../../config/', import.meta.url);

/** Starts cambist with `config/<name>.yaml`, with addresses and files of the test. */
export async function startRecipe(t: TestContext, name: string, rules: SimulationRules) {
  const text = readFileSync(new URL(`${name}.yaml`, FOLDER), 'utf8');
  const written: RecipeConfig = parse(text);
  const entry = Object.values(written.authorization_servers)[0];
  const address = String(entry?.issuer ?? entry?.token_endpoint);
  const { origin } = new URL(address);
  const server = await startSimulatedServer(rules, address.slice(origin.length));
  t.after(server.close);
  const upstream = await startFakeUpstream(t, echo);
  const files = writeFiles(t, server);
  const config = rewrite(written, (value) =>
    value.startsWith('/var/run/secrets/') ? join(files, basename(value)) : value.replace(origin, server.origin),
  );
  for (const route of config.routes) route.upstream = `${upstream.url}${new URL(String(route.upstream)).pathname}`;
  const app = await startTestApp(t, config);
  return {
    app,
    server,
    upstream,
    config,
    call: (token: string) => call(`${app.url}/github`, { headers: { authorization: `Bearer ${token}` }, body: '{}' }),
    /** The claims of the token that the upstream received last, or the token itself if it is opaque. */
    received() {
      const bearer = upstream.requests.at(-1)?.authorization[0]?.replace(/^Bearer /, '');
      return bearer?.startsWith('ey') ? decodeJwt(bearer) : bearer;
    },
  };
}

/** All clients share these keys, because generating an RSA key takes a third of a second of CPU time. */
let clientKeys: KeyPairKeyObjectResult | undefined;

function writeFiles(t: TestContext, server: SimulatedServer): string {
  const folder = temporaryFolder(t);
  clientKeys ??= generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pair = clientKeys;
  server.clientKey = pair.publicKey;
  writeFileSync(join(folder, 'client-secret'), server.clientSecret);
  writeFileSync(join(folder, 'tls.key'), pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  writeFileSync(join(folder, 'tls.crt'), createCertificateAuthority().issueClient({ publicKey: pair.publicKey }).cert);
  writeFileSync(join(folder, 'cambist'), 'token-of-the-workload');
  process.env.TOKEN_X_PRIVATE_JWK = JSON.stringify({ ...pair.privateKey.export({ format: 'jwk' }), kid: 'tokenx' });
  return folder;
}

/** Replaces every string of the config. */
function rewrite(config: RecipeConfig, change: (value: string) => string): RecipeConfig {
  return JSON.parse(JSON.stringify(config), (_key, value) => (typeof value === 'string' ? change(value) : value));
}
