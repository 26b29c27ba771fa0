import type { Dispatcher } from 'undici';
import type { AuthorizationServer, TokenTarget } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { type BoundedRequest, boundedRequest, type HttpAnswer } from './bounded-request.ts';
import { createBreaker } from './breaker.ts';
import { authenticateClient } from './client-auth.ts';
import type { Clock } from './clock.ts';
import { discover, type ServerMetadata } from './discovery.ts';
import { createLimiter } from './limiter.ts';
import { readTokenAnswer, type TokenAnswer } from './token-answer.ts';
import { buildTokenRequest, type Grant } from './token-request.ts';

/** One authorization server, as cambist talks to it. */
export interface TokenEndpoint {
  /** Runs work that ends in `requestToken`: at once, in its turn, or not at all where the server is down or overrun. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Finds the endpoint and reads the credential once, so that the first caller need not find out that either is missing. */
  prepare(): Promise<void>;
  /**
   * Asks for a token.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE, and what `readTokenAnswer` throws
   */
  requestToken(grant: Grant, target: TokenTarget): Promise<TokenEndpointAnswer>;
}

export interface TokenEndpointAnswer extends TokenAnswer {
  /** Monotonic milliseconds when the request went out. */
  readonly sentAtMs: number;
}

/** Metadata may move, so it is read anew after this long; the old serves on where the new cannot be had. */
const METADATA_LIFE_MS = 60 * 60 * 1000;

/** @param dispatcher gives the connection pool, which may have to read TLS files first */
export function createTokenEndpoint(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
): TokenEndpoint {
  const breaker = createBreaker(server.name, clock);
  const limiter = createLimiter(server.name);
  let metadata: { readonly value: ServerMetadata; readonly readAtMs: number } | undefined;

  async function locate(signal: AbortSignal): Promise<string> {
    if (server.tokenEndpoint !== undefined) return server.tokenEndpoint;
    const known = metadata;
    if (known !== undefined && clock.monotonicMs() - known.readAtMs < METADATA_LIFE_MS)
      return known.value.tokenEndpoint;
    try {
      const value = await discover(server, server.issuer ?? '', await dispatcher(), signal);
      metadata = { value, readAtMs: clock.monotonicMs() };
      return value.tokenEndpoint;
    } catch (error) {
      if (known === undefined) throw error;
      metadata = { value: known.value, readAtMs: clock.monotonicMs() };
      return known.value.tokenEndpoint;
    }
  }

  async function send(request: BoundedRequest): Promise<HttpAnswer> {
    const pool = await dispatcher();
    try {
      return await boundedRequest(pool, request);
    } catch (cause) {
      throw new CambistError(
        'ERR_STS_UNAVAILABLE',
        `authorization server "${server.name}": the token endpoint cannot be reached, or does not answer as it should`,
        { cause },
      );
    }
  }

  async function requestToken(grant: Grant, target: TokenTarget): Promise<TokenEndpointAnswer> {
    const signal = AbortSignal.timeout(server.timeoutMs);
    const url = await locate(signal);
    const client = await authenticateClient(server, server.issuer ?? url, clock);
    const form = new URLSearchParams();
    for (const [name, value] of buildTokenRequest(grant, target, server)) form.append(name, value);
    for (const [name, value] of client.fields) form.append(name, value);
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
    };
    if (client.authorization !== undefined) headers.authorization = client.authorization;
    const sentAtMs = clock.monotonicMs();
    const answer = await send({ method: 'POST', url, headers, body: form.toString(), signal });
    return {
      ...readTokenAnswer(answer, server.name, grant.kind, target.requestedTokenType, clock.wallMs()),
      sentAtMs,
    };
  }

  return {
    // Whoever waited for a turn is told at once that the server is down.
    run: (work) => limiter.run(() => breaker.run(work)),
    async prepare() {
      const url = await locate(AbortSignal.timeout(server.timeoutMs));
      await authenticateClient(server, url, clock);
      await dispatcher();
    },
    requestToken,
  };
}
