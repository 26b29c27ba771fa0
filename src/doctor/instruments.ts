import type { Dispatcher } from 'undici';
import type { AuthorizationServer, TlsFiles } from '../config/config.ts';
import { createTokenCache } from '../tokens/cache.ts';
import { type Assertion, createAssertions } from '../tokens/chain.ts';
import type { Clock } from '../tokens/clock.ts';
import { createDpopProver } from '../tokens/dpop.ts';
import { createExchange, type Exchange } from '../tokens/exchange.ts';
import type { TokenObserver } from '../tokens/observer.ts';
import { createSubjectReader } from '../tokens/subject.ts';
import { createSubjectSource, type SubjectSource } from '../tokens/subject-source.ts';
import { createSubjectVerifier } from '../tokens/subject-verifier.ts';
import { createTokenEndpoint, type TokenEndpoint } from '../tokens/token-endpoint.ts';
import { type Observation, observing } from './observation.ts';

/** Gives the connection pool for a peer, as the running program has it. */
export type Pool = (name: string, tls: TlsFiles | undefined, connectMs: number) => Dispatcher | Promise<Dispatcher>;

/** What the program itself asks authorization servers with, under observation. */
export interface Instruments {
  /** Every request so far. */
  readonly observations: readonly Observation[];
  readonly clock: Clock;
  endpoint(server: AuthorizationServer): TokenEndpoint;
  readonly exchange: Exchange;
  readonly subjects: SubjectSource;
}

/** To an issuer whose keys are wanted. */
const KEYS_CONNECT_MS = 5000;

/** Nobody counts what the doctor does. */
const UNHEARD: TokenObserver = {
  cacheAnswered() {},
  exchangeEnded() {},
  tokenEvicted() {},
  availabilityChanged() {},
  credentialRead() {},
};

export function createInstruments(pool: Pool, clock: Clock): Instruments {
  const observations: Observation[] = [];
  const dpop = createDpopProver(clock);
  const endpoints = new Map<AuthorizationServer, TokenEndpoint>();

  function endpoint(server: AuthorizationServer): TokenEndpoint {
    let known = endpoints.get(server);
    if (known === undefined) {
      const observed = async () => {
        const plain = await pool(`authorization server "${server.name}"`, server.tls, server.timeoutMs);
        return observing(plain, observations, clock.wallMs);
      };
      known = createTokenEndpoint(server, observed, { clock, dpop, servers: () => [...endpoints.keys()], ...UNHEARD });
      endpoints.set(server, known);
    }
    return known;
  }

  const exchange = createExchange({
    endpoint,
    // Of one at most: each route is to be asked for anew.
    assertions: createAssertions(createTokenCache<Assertion>(1, clock, () => {})),
    dpop,
    maxAgeMs: () => Number.POSITIVE_INFINITY,
    clock,
    observer: UNHEARD,
    random: () => 0,
  });
  const verifier = createSubjectVerifier(({ issuer, ca }) => {
    const tls = ca === undefined ? undefined : { ca, certificate: undefined, privateKey: undefined };
    return pool(`issuer "${issuer}"`, tls, KEYS_CONNECT_MS);
  }, clock);
  const subjects = createSubjectSource({
    reader: createSubjectReader(),
    verifier,
    clock,
    credentialRead: UNHEARD.credentialRead,
  });
  return { observations, clock, endpoint, exchange, subjects };
}
