import { type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { exportJWK, generateKeyPair, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { sendResponse } from './faults.ts';
import { startHttpServer } from './http-server.ts';

/** A token request, as received. */
export interface SimulatedRequest {
  readonly form: URLSearchParams;
  readonly path: string;
  /** The value of `Authorization`; undefined if it is missing. */
  readonly authorization: string | undefined;
}

export interface SimulatedResponse {
  readonly status: number;
  readonly body: unknown;
}

/** The rules of a simulated authorization server. It is as strict as the real product. */
export interface SimulationRules {
  /** Path of the token endpoint. */
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
  /** The public key for assertions that cambist signs. */
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
export async function startSimulatedServer(rules: SimulationRules, issuerPath: string): Promise<SimulatedServer> {
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
