import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import type { TokenTarget } from '../../../src/config/route.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import type { ExchangeOutcome, TokenObserver } from '../../../src/observability/token-observer.ts';
import { acceptToken } from '../../../src/tokens/accept-token.ts';
import { type Broker, createBroker, type Lookup } from '../../../src/tokens/broker.ts';
import { createTokenCache, type TokenCache } from '../../../src/tokens/cache.ts';
import { createExchange } from '../../../src/tokens/exchange.ts';
import { createDpopProver, type IssuedToken } from '../../../src/tokens/issued-token.ts';
import { observeExchange } from '../../../src/tokens/observe-exchange.ts';
import { createAssertions } from '../../../src/tokens/own-tokens.ts';
import type { Session } from '../../../src/tokens/session.ts';
import type { SecondLevel } from '../../../src/tokens/shared-token.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { Assertion, Grant, TokenRequest } from '../../../src/tokens/token-request.ts';
import type { TokenResponse, TokenType } from '../../../src/tokens/token-response.ts';
import { deferred } from '../../harness/eventually.ts';
import { createFakeClock, type FakeClock } from '../../harness/fake-clock.ts';
import { routeOf, settle, subjectOf } from './sample.ts';

/** A token request that waits for a response from the test. */
export interface ScriptedRequest {
  readonly server: AuthorizationServer;
  readonly grant: Grant;
  readonly target: TokenTarget;
  readonly expect: 'token' | 'assertion';
  /** @param expiresInSeconds `unknown`: the response does not contain it */
  issue(accessToken?: string, expiresInSeconds?: number | 'unknown', tokenType?: TokenType): Promise<void>;
  fail(error: unknown): Promise<void>;
}

export interface BrokerSetup {
  readonly broker: Broker;
  readonly cache: TokenCache;
  readonly clock: FakeClock;
  /** All token requests so far, pending or not. */
  readonly requests: ScriptedRequest[];
  /** The calls of the observer. */
  readonly lookups: string[];
  readonly outcomes: ExchangeOutcome[];
  readonly evictions: string[];
  readonly credentials: [name: string, seconds: number][];
  /** Waits for the request with this number. */
  request(number: number): Promise<ScriptedRequest>;
  /** Waits for the request with this number, and responds to it. */
  issue(number: number, ...token: Parameters<ScriptedRequest['issue']>): Promise<void>;
  fail(number: number, error: unknown): Promise<void>;
  /** The random number that the jitter is made from. */
  random: number;
}

interface BrokerSettings {
  readonly maxEntries?: number;
  readonly maxAgeMs?: number;
  readonly second?: SecondLevel;
}

/** A broker whose authorization servers respond as the test tells them. */
export function setUpBroker({ maxEntries = 100, maxAgeMs = 300_000, second }: BrokerSettings = {}): BrokerSetup {
  const clock = createFakeClock();
  const requests: ScriptedRequest[] = [];
  const lookups: string[] = [];
  const outcomes: ExchangeOutcome[] = [];
  const evictions: string[] = [];
  const credentials: [string, number][] = [];
  const observer: TokenObserver = {
    cacheLookedUp: (route, result) => lookups.push(`${route} ${result}`),
    exchangeFinished: (outcome) => outcomes.push(outcome),
    tokenEvicted: (reason) => evictions.push(reason),
    credentialRead: (name, seconds) => credentials.push([name, seconds]),
    availabilityChanged: () => {},
    introspected: () => {},
  };
  const cache = createTokenCache(maxEntries, clock, observer.tokenEvicted);
  let issued = 0;

  const settings = { clock, maxAgeMs: () => maxAgeMs, random: () => setup.random };
  const endpointOf = (server: AuthorizationServer): TokenEndpoint => ({
    prepare: async () => {},
    exchange(request) {
      return observeExchange(server.name, request, observer, clock, async () => {
        const response = deferred<TokenResponse>();
        const grant = await request.grant();
        const sentAtMs = clock.monotonicMs();
        requests.push(scripted(server, request, grant, response));
        const token = await response.promise;
        const { accessToken, tokenType } = token;
        return { accessToken, tokenType, sent: [], ...acceptToken(token, sentAtMs, request, settings) };
      });
    },
  });

  function scripted(
    server: AuthorizationServer,
    { target, expect }: TokenRequest,
    grant: Grant,
    response: ReturnType<typeof deferred<TokenResponse>>,
  ): ScriptedRequest {
    return {
      server,
      grant,
      target,
      expect,
      issue(accessToken, life = 300, tokenType = 'Bearer') {
        issued += 1;
        const expiresInSeconds = life === 'unknown' ? undefined : life;
        response.resolve({ accessToken: accessToken ?? `issued-${issued}`, tokenType, expiresInSeconds });
        return settle();
      },
      fail(error) {
        response.reject(error);
        return settle();
      },
    };
  }

  const setup: BrokerSetup = {
    broker: createBroker({
      cache,
      exchange: createExchange({
        endpoint: endpointOf,
        assertions: createAssertions(createTokenCache<Assertion>(maxEntries, clock, () => {})),
        dpop: createDpopProver(clock),
        credentialRead: observer.credentialRead,
      }),
      clock,
      observer,
      second,
    }),
    cache,
    clock,
    requests,
    lookups,
    outcomes,
    evictions,
    credentials,
    async request(number) {
      const untilMs = performance.now() + 2000;
      while (requests.length < number && performance.now() < untilMs) await settle();
      const request = requests[number - 1];
      if (request === undefined) throw new Error(`expected ${number} token requests instead of ${requests.length}`);
      return request;
    },
    issue: async (number, ...token) => (await setup.request(number)).issue(...token),
    fail: async (number, error) => (await setup.request(number)).fail(error),
    random: 0,
  };
  return setup;
}

export const ALICE: Session = { subject: subjectOf('alice'), id: undefined };
export const BOB: Session = { subject: subjectOf('bob'), id: undefined };

/** A broker that has a token for a session on a route. */
export async function setUpToken(route = routeOf(), session = ALICE, ...issued: Parameters<ScriptedRequest['issue']>) {
  const setup = setUpBroker();
  const lookup = setup.broker.lookUp(route, session);
  await setup.issue(1, ...issued);
  return { ...setup, token: await tokenOf(lookup) };
}

/** The result of a lookup: the bearer, or the code of an error. */
export async function bearerOf(lookup: Lookup): Promise<string> {
  try {
    return (await tokenOf(lookup)).authorization.reveal();
  } catch (error) {
    return error instanceof CambistError ? error.code : String(error);
  }
}

/** The token of a lookup. */
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
  return new CambistError(code, 'the authorization server refused', oauthError === undefined ? {} : { oauthError });
}
