import type { AuthorizationServer, TokenTarget } from '../../../src/config/config.ts';
import { CambistError, type ErrorCode } from '../../../src/errors.ts';
import type { ExchangeOutcome, TokenObserver } from '../../../src/observability/token-observer.ts';
import { type Broker, createBroker, type Lookup } from '../../../src/tokens/broker.ts';
import { createTokenCache, type TokenCache } from '../../../src/tokens/cache.ts';
import { type Assertion, createAssertions } from '../../../src/tokens/chain.ts';
import { createDpopProver } from '../../../src/tokens/dpop.ts';
import { createExchange } from '../../../src/tokens/exchange.ts';
import type { IssuedToken } from '../../../src/tokens/issued.ts';
import type { TokenType } from '../../../src/tokens/token-answer.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { Grant } from '../../../src/tokens/token-request.ts';
import { createFakeClock, type FakeClock } from '../../harness/fake-clock.ts';
import { deferred, settle } from './sample.ts';

/** A token request that waits for a test to answer it. */
export interface ScriptedRequest {
  readonly server: AuthorizationServer;
  readonly grant: Grant;
  readonly target: TokenTarget;
  readonly wanted: 'token' | 'assertion';
  /** @param expiresInSeconds `unknown`: the answer does not say */
  issue(accessToken?: string, expiresInSeconds?: number | 'unknown', tokenType?: TokenType): Promise<void>;
  fail(error: unknown): Promise<void>;
}

export interface BrokerSetup {
  readonly broker: Broker;
  readonly cache: TokenCache;
  readonly clock: FakeClock;
  /** All token requests so far, answered or not. */
  readonly requests: ScriptedRequest[];
  /** What the observer was told. */
  readonly answers: string[];
  readonly outcomes: ExchangeOutcome[];
  readonly evictions: string[];
  readonly credentials: [name: string, seconds: number][];
  /** Waits until so many requests have come. */
  request(number: number): Promise<ScriptedRequest>;
  /** For the jitter. */
  random: number;
}

/** A broker whose authorization servers answer when, and how, a test says. */
export function setUpBroker({ maxEntries = 100, maxAgeMs = 300_000 } = {}): BrokerSetup {
  const clock = createFakeClock();
  const requests: ScriptedRequest[] = [];
  const answers: string[] = [];
  const outcomes: ExchangeOutcome[] = [];
  const evictions: string[] = [];
  const credentials: [string, number][] = [];
  const observer: TokenObserver = {
    cacheAnswered: (route, result) => answers.push(`${route} ${result}`),
    exchangeEnded: (outcome) => outcomes.push(outcome),
    tokenEvicted: (reason) => evictions.push(reason),
    credentialRead: (name, seconds) => credentials.push([name, seconds]),
    availabilityChanged: () => {},
  };
  const cache = createTokenCache(maxEntries, clock, observer.tokenEvicted);
  let issued = 0;

  const endpointOf = (server: AuthorizationServer): TokenEndpoint => ({
    run: (_asker, work) => work(),
    prepare: async () => {},
    requestToken(grant, target, wanted = 'token') {
      const sentAtMs = clock.monotonicMs();
      const answer = deferred<Awaited<ReturnType<TokenEndpoint['requestToken']>>>();
      requests.push({
        server,
        grant,
        target,
        wanted,
        issue(accessToken, life = 300, tokenType = 'Bearer') {
          issued += 1;
          const expiresInSeconds = life === 'unknown' ? undefined : life;
          answer.resolve({
            accessToken: accessToken ?? `issued-${issued}`,
            tokenType,
            expiresInSeconds,
            sentAtMs,
            sent: [],
          });
          return settle();
        },
        fail(error) {
          answer.reject(error);
          return settle();
        },
      });
      return answer.promise;
    },
  });

  const setup: BrokerSetup = {
    broker: createBroker({
      cache,
      exchange: createExchange({
        endpoint: endpointOf,
        assertions: createAssertions(createTokenCache<Assertion>(maxEntries, clock, () => {})),
        dpop: createDpopProver(clock),
        maxAgeMs: () => maxAgeMs,
        clock,
        observer,
        random: () => setup.random,
      }),
      clock,
      observer,
    }),
    cache,
    clock,
    requests,
    answers,
    outcomes,
    evictions,
    credentials,
    async request(number) {
      const untilMs = performance.now() + 2000;
      while (requests.length < number && performance.now() < untilMs) await settle();
      const request = requests[number - 1];
      if (request === undefined) throw new Error(`there were ${requests.length} token requests, and not ${number}`);
      return request;
    },
    random: 0,
  };
  return setup;
}

/** What a look-up leads to: the bearer, or the code of a failure. */
export async function bearerOf(lookup: Lookup): Promise<string> {
  try {
    return (await tokenOf(lookup)).authorization.reveal();
  } catch (error) {
    return error instanceof CambistError ? error.code : String(error);
  }
}

/** The token that a look-up leads to. */
export async function tokenOf(lookup: Lookup): Promise<IssuedToken> {
  switch (lookup.result) {
    case 'bypass':
      throw new Error('a bypass has no token');
    case 'negative':
      throw lookup.error;
    case 'hit':
      return lookup.token;
    case 'miss':
    case 'joined':
      return lookup.pending;
  }
}

export function refusalOf(code: ErrorCode, oauthError?: string): CambistError {
  return new CambistError(code, 'the authorization server said so', oauthError === undefined ? {} : { oauthError });
}
