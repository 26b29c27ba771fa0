import type { Clock } from '../../../src/clock/clock.ts';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import type { ExchangeOutcome, TokenObserver } from '../../../src/observability/token-observer.ts';
import { acceptToken } from '../../../src/tokens/accept-token.ts';
import { createBroker, type Lookup } from '../../../src/tokens/broker.ts';
import { createTokenCache, type TokenCache } from '../../../src/tokens/cache.ts';
import { createExchange } from '../../../src/tokens/exchange.ts';
import { createDpopProver, type IssuedToken } from '../../../src/tokens/issued-token.ts';
import { observeExchange } from '../../../src/tokens/observe-exchange.ts';
import { createAssertions } from '../../../src/tokens/own-tokens.ts';
import type { Session } from '../../../src/tokens/session.ts';
import type { SecondLevel } from '../../../src/tokens/shared-token.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { Assertion, Grant, TokenRequest } from '../../../src/tokens/token-request.ts';
import type { TokenResponse } from '../../../src/tokens/token-response.ts';
import { deferred } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { routeOf, settle, subjectOf } from './sample.ts';

export type ScriptedRequest = ReturnType<typeof scripted>;
type Issue = Parameters<ScriptedRequest['issue']>;

/** A broker whose authorization servers respond as the test tells them. */
export function setUpBroker({
  maxEntries = 100,
  maxAgeMs = 300_000,
  second = undefined as SecondLevel | undefined,
} = {}) {
  const clock = createFakeClock();
  /** All token requests so far, pending or not. */
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

  /** Waits for the request with this number. */
  async function request(number: number): Promise<ScriptedRequest> {
    const untilMs = performance.now() + 2000;
    while (requests.length < number && performance.now() < untilMs) await settle();
    const found = requests[number - 1];
    if (found === undefined) throw new Error(`expected ${number} token requests instead of ${requests.length}`);
    return found;
  }
  const setup = {
    broker: brokerOf(endpointOf, cache, clock, observer, second),
    cache,
    clock,
    requests,
    lookups,
    outcomes,
    evictions,
    credentials,
    request,
    /** Waits for the request with this number, and responds to it. */
    issue: async (number: number, ...token: Issue) => (await request(number)).issue(...token),
    fail: async (number: number, error: unknown) => (await request(number)).fail(error),
    /** The random number that the jitter is made from. */
    random: 0,
  };
  return setup;
}

/** A broker whose tokens come from these endpoints. */
export function brokerOf(
  endpoint: (server: AuthorizationServer) => TokenEndpoint,
  cache: TokenCache,
  clock: Clock,
  observer: TokenObserver,
  second?: SecondLevel,
) {
  const assertions = createAssertions(createTokenCache<Assertion>(100, clock, () => {}));
  const { credentialRead } = observer;
  const exchange = createExchange({ endpoint, assertions, dpop: createDpopProver(clock), credentialRead });
  return createBroker({ cache, exchange, clock, observer, second });
}

/** A token request that waits for a response from the test. */
function scripted(
  server: AuthorizationServer,
  { target }: TokenRequest,
  grant: Grant,
  response: ReturnType<typeof deferred<TokenResponse>>,
) {
  return {
    server,
    grant,
    target,
    issue(accessToken = 'issued', life: number | 'unknown' = 300) {
      const expiresInSeconds = life === 'unknown' ? undefined : life;
      response.resolve({ accessToken, tokenType: 'Bearer', expiresInSeconds });
      return settle();
    },
    fail(error: unknown) {
      response.reject(error);
      return settle();
    },
  };
}

export const ALICE: Session = { subject: subjectOf('alice'), id: undefined };
export const BOB: Session = { subject: subjectOf('bob'), id: undefined };

/** A broker that has a token for a session on a route. */
export async function setUpToken(route = routeOf(), session = ALICE, ...issued: Issue) {
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
