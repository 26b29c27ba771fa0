import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { CambistError } from '../errors.ts';
import { boundedRequest, type HttpResponse, isTimeout, type RequestUrl, toRequestUrl } from './bounded-request.ts';
import type { MetadataAttempt } from './diagnosis.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import {
  metadataUrls,
  readIntrospectionEndpoint,
  readJwksUri,
  readMetadata,
  type ServerMetadata,
  serverLabel,
} from './metadata.ts';
import { BEYOND_KEYS_TIMEOUT, beyondTimeout } from './server-request.ts';

/**
 * Fetches the metadata of an authorization server.
 * @param untilMs deadline of a bounded request, for all URLs together
 * @param seen receives each request, so that a failure can be explained
 * @throws {CambistError} ERR_STS_METADATA_INVALID if no URL has a usable document of this issuer, ERR_STS_UNAVAILABLE if a later
 *   attempt may succeed
 */
export function discover(
  server: AuthorizationServer,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
  seen?: MetadataAttempt[],
): Promise<ServerMetadata> {
  const read = (response: HttpResponse) => readMetadata(response, server, issuer);
  return fetchMetadata(peerOf(server), issuer, dispatcher, untilMs, read, seen);
}

/**
 * Finds the URL of an issuer's keys.
 * @param name the issuer, for messages
 * @throws {CambistError} ERR_STS_METADATA_INVALID, ERR_STS_UNAVAILABLE
 */
export function discoverJwksUri(
  name: string,
  issuer: string,
  allowInsecureHttp: boolean,
  dispatcher: Dispatcher,
  untilMs: number,
): Promise<string> {
  const read = (response: HttpResponse) => readJwksUri(response, name, issuer, allowInsecureHttp);
  return fetchMetadata({ name, beyondLimit: BEYOND_KEYS_TIMEOUT }, issuer, dispatcher, untilMs, read);
}

/**
 * Finds the introspection endpoint of a server.
 * @throws {CambistError} ERR_STS_METADATA_INVALID, ERR_STS_UNAVAILABLE
 */
export function discoverIntrospection(
  server: AuthorizationServer,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
): Promise<string> {
  const read = (response: HttpResponse) => readIntrospectionEndpoint(response, server, issuer);
  return fetchMetadata(peerOf(server), issuer, dispatcher, untilMs, read);
}

/** These statuses may pass, as 5xx may. Every other status means that there is no metadata at the URL. */
const PASSING: ReadonlySet<number> = new Set([408, 429]);

interface MetadataPeer {
  /** Messages name it. */
  readonly name: string;
  /** The limit that a response exceeded, and how to fix it. */
  readonly beyondLimit: string;
}

function peerOf(server: AuthorizationServer): MetadataPeer {
  return { name: serverLabel(server), beyondLimit: beyondTimeout(server) };
}

async function fetchMetadata<T>(
  { name, beyondLimit }: MetadataPeer,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
  read: (response: HttpResponse) => T,
  seen?: MetadataAttempt[],
): Promise<T> {
  const missing: string[] = [];
  let invalid: CambistError | undefined;
  let passing: CambistError | undefined;
  for (const url of metadataUrls(issuer)) {
    let response: HttpResponse;
    try {
      const headers = { accept: 'application/json' };
      response = await boundedRequest(dispatcher, { method: 'GET', url: toRequestUrl(url), headers, untilMs });
    } catch (cause) {
      seen?.push({ url, response: undefined, error: cause });
      const why = isTimeout(cause) ? `did not arrive ${beyondLimit}` : 'cannot be fetched';
      passing ??= unavailable(name, `its metadata at ${url} ${why}`, cause);
      continue;
    }
    seen?.push({ url, response, error: undefined });
    const { status } = response;
    if (status === 200) {
      try {
        return read(response);
      } catch (error) {
        if (!(error instanceof CambistError)) throw error;
        invalid ??= new CambistError(error.code, `${error.message} (metadata at ${url})`);
      }
    } else if (status >= 500 || PASSING.has(status)) {
      passing ??= unavailable(name, `the request for its metadata at ${url} returned status ${status}`);
    } else {
      missing.push(`${url} (${status})`);
    }
  }
  // A problem within a document is more useful than a missing document at the other URL.
  throw invalid ?? passing ?? notFound(name, missing);
}

function notFound(name: string, missing: readonly string[]): CambistError {
  const where = missing.join(', ');
  return new CambistError('ERR_STS_METADATA_INVALID', `${name}: no metadata at ${where}: check "issuer"`);
}

function unavailable(name: string, why: string, cause?: unknown): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', `${name}: ${why}`, { cause });
}

/** The metadata is read again after this time. The known endpoint stays in use meanwhile, and if that fails. */
const METADATA_LIFETIME_MS = 60 * 60 * 1000;
/** Minimum delay before reading the metadata again after a failure. */
const METADATA_COOLDOWN_MS = 60 * 1000;

/** An endpoint of a server, and all endpoints of its metadata that belong to it alone. */
export interface FoundEndpoint {
  readonly endpoint: string;
  readonly claimed: readonly string[];
}

interface LocatorOptions {
  readonly server: AuthorizationServer;
  /** Where it is not configured, `discover` finds it. */
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
