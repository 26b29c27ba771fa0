import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer, TokenTarget } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import {
  AnswerTooLargeError,
  type BoundedRequest,
  boundedRequest,
  type HttpAnswer,
  type RequestUrl,
  toRequestUrl,
} from './bounded-request.ts';
import { authenticateClient } from './client-auth.ts';
import { discover } from './discovery.ts';
import type { DpopProver } from './dpop.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import { createExchangeQueue, type ExchangeQueue } from './exchange-queue.ts';
import { type SentValue, sentInForm } from './sent-values.ts';
import { type AskedFor, asksForNonce, readTokenAnswer, type TokenAnswer } from './token-answer.ts';
import { buildTokenRequest, type FormField, type Grant } from './token-request.ts';

/** One authorization server, as cambist talks to it. */
export interface TokenEndpoint {
  /** Runs work that calls `requestToken` once. */
  readonly run: ExchangeQueue['run'];
  /** Finds the endpoint and reads the credential once, so that the first caller need not find out that either is missing. */
  prepare(): Promise<void>;
  /**
   * Asks for a token, or for an assertion that another server is to be shown.
   * @param earlier what was sent before, which an issued token must not repeat either
   * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE, and what `readTokenAnswer` throws
   */
  requestToken(
    grant: Grant,
    target: TokenTarget,
    wanted?: 'token' | 'assertion',
    earlier?: EarlierValues,
  ): Promise<TokenEndpointAnswer>;
}

/** Values that were sent before a token request, in the first leg of a chain or by the caller. */
export interface EarlierValues {
  readonly values: readonly SentValue[];
  /** Of values that are not kept. */
  readonly digests: ReadonlySet<string>;
}

export interface TokenEndpointAnswer extends TokenAnswer {
  /** Monotonic milliseconds when the request went out. */
  readonly sentAtMs: number;
  /** Everything that the request carried. */
  readonly sent: readonly SentValue[];
}

/** Metadata may move, so it is read anew after this long; the old serves on meanwhile, and where the new cannot be had. */
const METADATA_LIFE_MS = 60 * 60 * 1000;
/** When reading it anew has failed, the next attempt waits this long. */
const METADATA_PAUSE_MS = 60 * 1000;

/** Nothing in these would be fixed by another token of the caller. */
function bearsOurs(grant: Grant): boolean {
  return grant.kind === 'client_credentials' || (grant.kind === 'jwt_bearer' && grant.from === 'chain');
}

/** What all token endpoints share. */
export interface TokenEndpointContext {
  readonly clock: Clock;
  readonly dpop: DpopProver;
  readonly credentialRead: TokenObserver['credentialRead'];
  readonly availabilityChanged: TokenObserver['availabilityChanged'];
  readonly claims: EndpointClaims;
}

/** @param dispatcher gives the connection pool, which may have to read TLS files first */
export function createTokenEndpoint(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  { clock, dpop, credentialRead, availabilityChanged, claims }: TokenEndpointContext,
): TokenEndpoint {
  const queue = createExchangeQueue(server.name, server.timeoutMs, clock, (available) =>
    availabilityChanged(server.name, available),
  );
  const nonceFrom = `authorization server ${server.name}`;
  const configured = server.tokenEndpoint === undefined ? undefined : toRequestUrl(server.tokenEndpoint);
  /** By the metadata. */
  let discovered: RequestUrl | undefined;
  let metadataStaleAtMs = 0;
  let discovering: Promise<RequestUrl> | undefined;

  async function findMetadata(): Promise<RequestUrl> {
    const pool = await dispatcher();
    const metadata = await discover(server, server.issuer ?? '', pool, performance.now() + server.timeoutMs);
    const { tokenEndpoint, mtlsTokenEndpoint = tokenEndpoint } = metadata;
    claims.claim(server, [tokenEndpoint, mtlsTokenEndpoint]);
    discovered = toRequestUrl(mtlsTokenEndpoint);
    metadataStaleAtMs = clock.monotonicMs() + METADATA_LIFE_MS;
    return discovered;
  }

  /** However many ask, one goes and looks. */
  function findMetadataOnce(): Promise<RequestUrl> {
    discovering ??= findMetadata().finally(() => {
      discovering = undefined;
    });
    return discovering;
  }

  function locate(): RequestUrl | Promise<RequestUrl> {
    if (configured !== undefined) return configured;
    if (discovered === undefined || !claims.holds(server)) return findMetadataOnce();
    if (clock.monotonicMs() >= metadataStaleAtMs) {
      metadataStaleAtMs = clock.monotonicMs() + METADATA_PAUSE_MS;
      findMetadataOnce().catch(() => {
        // No caller waits for this, and the old serves on.
      });
    }
    return discovered;
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

  async function requestToken(
    grant: Grant,
    target: TokenTarget,
    wanted: 'token' | 'assertion' = 'token',
    earlier?: EarlierValues,
  ): Promise<TokenEndpointAnswer> {
    const untilMs = performance.now() + server.timeoutMs;
    const url = await locate();
    const fields = buildTokenRequest(grant, target, server);
    let exchange = await attempt(url, fields, untilMs);
    const { sent } = exchange;
    if (server.dpop && dpop.learn(nonceFrom, exchange.answer.dpopNonce) && asksForNonce(exchange.answer)) {
      exchange = await attempt(url, fields, untilMs);
      sent.push(...exchange.sent);
      dpop.learn(nonceFrom, exchange.answer.dpopNonce);
    }
    const asked: AskedFor = {
      serverName: server.name,
      bears: bearsOurs(grant) ? 'ours' : "caller's",
      requestedTokenType: target.requestedTokenType,
      wanted: wanted === 'assertion' ? wanted : server.dpop ? 'bearer_or_dpop' : 'bearer',
      sent: earlier === undefined ? sent : [...sent, ...earlier.values],
      sentEarlier: earlier?.digests,
    };
    return { ...readTokenAnswer(exchange.answer, asked, clock.wallMs()), sentAtMs: exchange.sentAtMs, sent };
  }

  /** An assertion and a proof are good for one request, so each attempt has its own. */
  async function attempt(
    url: RequestUrl,
    fields: readonly FormField[],
    untilMs: number,
  ): Promise<{ answer: HttpAnswer; sentAtMs: number; sent: SentValue[] }> {
    const client = await authenticateClient(server, server.issuer ?? url.text, clock, credentialRead);
    const all = [...fields, ...client.fields];
    const sent = [...sentInForm(all), ...client.sent];
    const form = new URLSearchParams();
    for (const [name, value] of all) form.append(name, value);
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
    };
    if (client.authorization !== undefined) headers.authorization = client.authorization;
    if (server.dpop) {
      headers.dpop = await dpop.prove({ method: 'POST', url: url.text, nonceFrom });
      sent.push({ name: 'DPoP', value: headers.dpop, isCredential: true });
    }
    const sentAtMs = clock.monotonicMs();
    const answer = await send({ method: 'POST', url, headers, body: form.toString(), untilMs });
    return { answer, sentAtMs, sent };
  }

  return {
    run: queue.run,
    async prepare() {
      const url = await locate();
      await authenticateClient(server, server.issuer ?? url.text, clock, credentialRead);
      await dispatcher();
    },
    requestToken,
  };
}
