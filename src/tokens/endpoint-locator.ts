import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type RequestUrl, toRequestUrl } from './bounded-request.ts';
import type { EndpointClaims } from './endpoint-claims.ts';

/** The metadata is read again after this time. The known endpoint stays in use meanwhile, and if that fails. */
const METADATA_LIFETIME_MS = 60 * 60 * 1000;
/** Minimum delay before reading the metadata again after a failure. */
const METADATA_COOLDOWN_MS = 60 * 1000;

/** An endpoint of a server, and all endpoints of its metadata that belong to it alone. */
export interface FoundEndpoint {
  readonly endpoint: string;
  readonly claimed: readonly string[];
}

export interface LocatorOptions {
  readonly server: AuthorizationServer;
  /** Undefined: `discover` finds it. */
  readonly configured: string | undefined;
  /** Gives the connection pool. */
  readonly dispatcher: (server: AuthorizationServer) => Dispatcher | Promise<Dispatcher>;
  readonly discover: (pool: Dispatcher, untilMs: number) => Promise<FoundEndpoint>;
  readonly claims: EndpointClaims;
  readonly clock: Clock;
}

/**
 * Finds an endpoint of a server: in the config, or by discovery.
 * @returns a function that is synchronous while the endpoint is known
 * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID
 */
export function createEndpointLocator(options: LocatorOptions): () => RequestUrl | Promise<RequestUrl> {
  const { server, dispatcher, discover, claims, clock } = options;
  const configured = options.configured === undefined ? undefined : toRequestUrl(options.configured);
  let discovered: RequestUrl | undefined;
  let renewAtMs = 0;
  let discovering: Promise<RequestUrl> | undefined;

  async function readMetadata(): Promise<RequestUrl> {
    const pool = await dispatcher(server);
    const { endpoint, claimed } = await discover(pool, performance.now() + server.timeoutMs);
    claims.claim(server, claimed);
    discovered = toRequestUrl(endpoint);
    renewAtMs = clock.monotonicMs() + METADATA_LIFETIME_MS;
    return discovered;
  }

  /** Concurrent requests share one discovery. */
  function discoverOnce(): Promise<RequestUrl> {
    discovering ??= readMetadata().finally(() => {
      discovering = undefined;
    });
    return discovering;
  }

  return () => {
    if (configured !== undefined) return configured;
    if (discovered === undefined || !claims.holds(server)) return discoverOnce();
    if (clock.monotonicMs() >= renewAtMs) {
      renewAtMs = clock.monotonicMs() + METADATA_COOLDOWN_MS;
      discoverOnce().catch(() => {
        // No request waits for this, and the known endpoint stays in use.
      });
    }
    return discovered;
  };
}
