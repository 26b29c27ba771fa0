import type { Dispatcher } from 'undici';
import type { AuthorizationServer, TokenTarget } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { AnswerTooLargeError, type BoundedRequest, boundedRequest, type HttpAnswer } from './bounded-request.ts';
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

/** Metadata may move, so it is read anew after this long; the old serves on meanwhile, and where the new cannot be had. */
const METADATA_LIFE_MS = 60 * 60 * 1000;
/** When reading it anew has failed, the next attempt waits this long. */
const METADATA_PAUSE_MS = 60 * 1000;

/** What a token request proves things with, as its form holds it. */
const SECRET_FIELDS = ['subject_token', 'actor_token', 'client_secret', 'client_assertion'];

function secretsOf(form: URLSearchParams): string[] {
  return SECRET_FIELDS.flatMap((name) => form.getAll(name));
}

/** @param dispatcher gives the connection pool, which may have to read TLS files first */
export function createTokenEndpoint(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  clock: Clock,
): TokenEndpoint {
  const breaker = createBreaker(server.name, clock);
  const limiter = createLimiter(server.name, server.timeoutMs);
  let metadata: ServerMetadata | undefined;
  let metadataStaleAtMs = 0;
  let discovering: Promise<ServerMetadata> | undefined;

  async function findMetadata(): Promise<ServerMetadata> {
    const pool = await dispatcher();
    metadata = await discover(server, server.issuer ?? '', pool, AbortSignal.timeout(server.timeoutMs));
    metadataStaleAtMs = clock.monotonicMs() + METADATA_LIFE_MS;
    return metadata;
  }

  /** However many ask, one goes and looks. */
  function findMetadataOnce(): Promise<ServerMetadata> {
    discovering ??= findMetadata().finally(() => {
      discovering = undefined;
    });
    return discovering;
  }

  async function locate(): Promise<string> {
    if (server.tokenEndpoint !== undefined) return server.tokenEndpoint;
    if (metadata === undefined) return (await findMetadataOnce()).tokenEndpoint;
    if (clock.monotonicMs() >= metadataStaleAtMs) {
      metadataStaleAtMs = clock.monotonicMs() + METADATA_PAUSE_MS;
      findMetadataOnce().catch(() => {
        // No caller waits for this, and the old serves on.
      });
    }
    return metadata.tokenEndpoint;
  }

  async function send(request: BoundedRequest): Promise<HttpAnswer> {
    const pool = await dispatcher();
    try {
      return await boundedRequest(pool, request);
    } catch (cause) {
      if (cause instanceof AnswerTooLargeError) {
        throw new CambistError('ERR_STS_RESPONSE_INVALID', `authorization server "${server.name}": ${cause.message}`);
      }
      throw new CambistError(
        'ERR_STS_UNAVAILABLE',
        `authorization server "${server.name}": the token endpoint cannot be reached, or does not answer as it should`,
        { cause },
      );
    }
  }

  async function requestToken(grant: Grant, target: TokenTarget): Promise<TokenEndpointAnswer> {
    const signal = AbortSignal.timeout(server.timeoutMs);
    const url = await locate();
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
      ...readTokenAnswer(answer, server.name, grant.kind, target.requestedTokenType, clock.wallMs(), secretsOf(form)),
      sentAtMs,
    };
  }

  return {
    // Whoever waited for a turn is told at once that the server is down.
    run: (work) => limiter.run(() => breaker.run(work)),
    async prepare() {
      const url = await locate();
      await authenticateClient(server, server.issuer ?? url, clock);
      await dispatcher();
    },
    requestToken,
  };
}
