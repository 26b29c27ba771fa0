import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { systemClock } from '../../src/clock/clock.ts';
import { type HttpServerOptions, startHttpServer } from './http-server.ts';
import { recordSecret } from './leaks.ts';
import type { Lifetime } from './lifetime.ts';

/** Faulty behaviours of a server. */
export type Fault =
  /** Any response. An object is sent as JSON, a string unchanged. */
  | {
      kind: 'response';
      status: number;
      body?: unknown;
      headers?: OutgoingHttpHeaders;
      delayMs?: number;
      /** Delays the response until the promise settles. */
      until?: Promise<unknown>;
    }
  /** Accepts the request and never responds. */
  | { kind: 'hang' }
  /** Closes the connection without a response. */
  | { kind: 'reset' }
  /** 200 with JSON of at least this size. */
  | { kind: 'huge'; bytes: number }
  /** 200 with an endless body, one byte at a time. */
  | { kind: 'drip'; intervalMs: number };

export async function respondWithFault(fault: Fault, response: ServerResponse): Promise<void> {
  switch (fault.kind) {
    case 'response':
      await fault.until;
      if (fault.delayMs !== undefined) await delay(fault.delayMs);
      return sendResponse(response, fault.status, fault.body ?? '', fault.headers);
    case 'hang':
      return;
    case 'reset':
      response.destroy();
      return;
    case 'huge':
      return sendResponse(response, 200, { access_token: 'x'.repeat(fault.bytes), token_type: 'Bearer' });
    case 'drip':
      return drip(response, fault.intervalMs);
    default:
      fault satisfies never;
  }
}

export function sendResponse(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  if (response.destroyed) return;
  const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const contentType = typeof body === 'string' && body.startsWith('<') ? 'text/html' : 'application/json';
  response.writeHead(status, { 'content-type': contentType, ...headers });
  response.end(text);
}

function drip(response: ServerResponse, intervalMs: number): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write('{"access_token":"');
  const timer = setInterval(() => response.write('x'), intervalMs);
  response.once('close', () => clearInterval(timer));
}

const SIGNING_ALG = 'ES256';

export type Behaviour =
  | {
      kind: 'issue';
      /** Claims of the issued JWT. The defaults are the requested audience and the subject of the subject token. */
      audience?: string | string[];
      subject?: string;
      /** Lifetime of the issued JWT. If negative, the JWT is expired. */
      ttlSeconds?: number;
      claims?: Record<string, unknown>;
      /** `typ` of the issued JWT. The default is that of an access token. */
      type?: string;
      /** Replaces the JWT: an opaque or empty token. */
      accessToken?: string;
      /** Override fields of the response. `undefined` removes a field. */
      fields?: Record<string, unknown>;
      delayMs?: number;
      /** Delays the response until the promise settles. */
      until?: Promise<unknown>;
    }
  | Fault;

export type MetadataBehaviour =
  /** `fields` override those of the document. `undefined` removes a field. */
  { kind: 'document'; fields?: Record<string, unknown> } | Fault;

export interface TokenRequest {
  form: URLSearchParams;
  headers: IncomingHttpHeaders;
  receivedAtMs: number;
  issued?: string;
}

export interface MintFields {
  subject?: string;
  audience?: string | string[];
  /** Infinite: the token has no `exp`. */
  ttlSeconds?: number;
  claims?: Record<string, unknown>;
  type?: string;
}

interface FakeAuthorizationServerOptions extends HttpServerOptions {
  issuerPath?: string;
  /** Handles further paths. @returns whether it responds */
  respond?: (url: URL, request: IncomingMessage, response: ServerResponse) => boolean;
}

export type FakeAuthorizationServer = Awaited<ReturnType<typeof startFakeAuthorizationServer>>;

/** An authorization server whose behaviour, including faults, is set by the test. It verifies nothing. */
export async function startFakeAuthorizationServer(t: Lifetime, options: FakeAuthorizationServerOptions = {}) {
  const path = options.issuerPath ?? '';
  const jwks: JWK[] = [];
  let kid = 'fake';
  let keys = await createKey();
  let inFlight = 0;
  const server = await startHttpServer((request, response) => {
    inFlight += 1;
    response.once('close', () => {
      inFlight -= 1;
    });
    handle(request, response).catch((error: unknown) => sendResponse(response, 500, String(error)));
  }, options);
  t.after(server.close);
  const issuer = `${server.url}${path}`;
  const tokenEndpoint = `${issuer}/token`;
  const jwksUri = `${issuer}/jwks`;

  const fake = {
    issuer,
    port: server.port,
    tokenEndpoint,
    jwksUri,
    /** Applies to all requests until it changes. */
    behaviour: { kind: 'issue' } as Behaviour | ((request: TokenRequest) => Behaviour),
    /** Behaviours of the next requests, one each. `behaviour` applies after them. */
    queue: [] as Behaviour[],
    /** A function receives the path, for a server with metadata at only one location. */
    metadataBehaviour: { kind: 'document' } as MetadataBehaviour | ((path: string) => MetadataBehaviour),
    requests: [] as TokenRequest[],
    /** The values of a field in all token requests. */
    sent: (field: string) => fake.requests.map(({ form }) => form.get(field)),
    metadataRequests: [] as string[],
    inFlight: () => inFlight,
    /** Signs a JWT: a subject or actor token. */
    mint,
    /** Signs later tokens with a new key. The old key stays in the JWKS. */
    async rotateKey() {
      kid = `fake-${jwks.length + 1}`;
      keys = await createKey();
    },
    close: server.close,
  };
  return fake;

  async function createKey() {
    const pair = await generateKeyPair(SIGNING_ALG, { extractable: true });
    jwks.push({ ...(await exportJWK(pair.publicKey)), alg: SIGNING_ALG, use: 'sig', kid });
    return pair;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', server.url);
    if (options.respond?.(url, request, response) === true) return undefined;
    if (url.pathname.includes('/.well-known/')) return respondWithMetadata(url.pathname, response);
    if (url.pathname === `${path}/jwks`) return sendResponse(response, 200, { keys: jwks });
    if (url.pathname === `${path}/token`) return respondWithToken(request, response);
    return sendResponse(response, 404, 'not found');
  }

  async function respondWithMetadata(pathname: string, response: ServerResponse): Promise<void> {
    fake.metadataRequests.push(pathname);
    const behaviour =
      typeof fake.metadataBehaviour === 'function' ? fake.metadataBehaviour(pathname) : fake.metadataBehaviour;
    if (behaviour.kind !== 'document') return respondWithFault(behaviour, response);
    const places = [
      `/.well-known/oauth-authorization-server${path}`,
      `${path}/.well-known/oauth-authorization-server`,
      `${path}/.well-known/openid-configuration`,
    ];
    if (!places.includes(pathname)) return sendResponse(response, 404, 'not found');
    return sendResponse(response, 200, {
      issuer,
      token_endpoint: tokenEndpoint,
      jwks_uri: jwksUri,
      ...behaviour.fields,
    });
  }

  async function respondWithToken(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const received: TokenRequest = {
      form: new URLSearchParams(await text(request)),
      headers: request.headers,
      receivedAtMs: systemClock.wallMs(),
    };
    fake.requests.push(received);
    const behaviour =
      fake.queue.shift() ?? (typeof fake.behaviour === 'function' ? fake.behaviour(received) : fake.behaviour);
    if (behaviour.kind !== 'issue') return respondWithFault(behaviour, response);
    const body = await issue(received, behaviour);
    await behaviour.until;
    if (behaviour.delayMs !== undefined) await delay(behaviour.delayMs);
    return sendResponse(response, 200, body);
  }

  async function issue(
    received: TokenRequest,
    behaviour: Extract<Behaviour, { kind: 'issue' }>,
  ): Promise<Record<string, unknown>> {
    const { form } = received;
    const named = [...form.getAll('resource'), ...form.getAll('audience')];
    const scope = form.get('scope');
    const { ttlSeconds = 300 } = behaviour;
    const accessToken =
      behaviour.accessToken ??
      (await mint({
        audience: behaviour.audience ?? (named.length === 1 ? (named[0] ?? '') : named),
        subject: behaviour.subject ?? subjectOf(form.get('subject_token')) ?? form.get('client_id') ?? 'unknown',
        ttlSeconds,
        claims: { ...(scope === null ? {} : { scope }), ...behaviour.claims },
        ...(behaviour.type !== undefined && { type: behaviour.type }),
      }));
    received.issued = accessToken;
    return {
      access_token: accessToken,
      issued_token_type: form.get('requested_token_type') ?? 'urn:ietf:params:oauth:token-type:access_token',
      token_type: 'Bearer',
      expires_in: ttlSeconds,
      ...behaviour.fields,
    };
  }

  async function mint(fields: MintFields = {}): Promise<string> {
    const { subject = 'alice', audience = 'cambist', ttlSeconds = 600, claims = {}, type = 'at+jwt' } = fields;
    const nowSeconds = Math.floor(Date.now() / 1000);
    const expiry = Number.isFinite(ttlSeconds) ? { exp: nowSeconds + ttlSeconds } : {};
    const token = await new SignJWT({ jti: randomUUID(), ...claims, ...expiry })
      .setProtectedHeader({ alg: SIGNING_ALG, typ: type, kid })
      .setIssuer(typeof claims.iss === 'string' ? claims.iss : issuer)
      .setSubject(subject)
      .setAudience(audience)
      .setIssuedAt(typeof claims.iat === 'number' ? claims.iat : nowSeconds)
      .sign(keys.privateKey);
    recordSecret(token);
    return token;
  }
}

function subjectOf(token: string | null): string | undefined {
  if (token === null) return undefined;
  try {
    return decodeJwt(token).sub;
  } catch {
    return undefined;
  }
}

/** `timeout` of a server in a config. No token request times out, also where a busy machine takes seconds for a response. */
export const TOKEN_TIMEOUT = '60s';

/** cambist as a client whose secret is in a folder, in a config. */
export function secretClient({ issuer }: { issuer: string }, folder: string) {
  const secret = { file: join(folder, 'client-secret') };
  const clientAuth = { method: 'client_secret_basic', client_secret: secret };
  return { issuer, client_id: 'cambist', client_auth: clientAuth, timeout: TOKEN_TIMEOUT };
}

/** Lifetime of issued tokens: longer than a request takes on a busy machine. */
const LIFE_SECONDS = 60;

/** Issues tokens that tests let expire. */
export const SHORT_LIVED: Behaviour = { kind: 'issue', fields: { expires_in: LIFE_SECONDS } };
/** Issues tokens with `expires_in` of 0, so each token is used once. */
export const SINGLE_USE: Behaviour = { kind: 'issue', fields: { expires_in: 0 } };

/** Longer than the lifetime of these tokens. */
export const EXPIRY_MS = 1000 * LIFE_SECONDS + 1000;

/** Checks that every token was issued and unexpired when the upstream received it. */
export function assertUnexpired(
  { requests }: FakeAuthorizationServer,
  arrivals: readonly { authorization: readonly string[]; receivedAtMs: number }[],
): void {
  for (const { authorization, receivedAtMs } of arrivals) {
    const request = requests.find(({ issued }) => authorization[0] === `Bearer ${issued}`);
    assert.ok(request !== undefined, 'the token was never issued');
    const ageMs = receivedAtMs - request.receivedAtMs;
    assert.ok(ageMs < 1000 * LIFE_SECONDS, `the token was ${ageMs} ms old`);
  }
}
