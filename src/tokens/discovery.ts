import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { hasCertificate } from '../config/kinds.ts';
import { CambistError } from '../errors.ts';
import { isLoopback, mayUsePlainHttp } from '../host-names.ts';
import {
  boundedRequest,
  type HttpResponse,
  isPassing,
  isTimeout,
  type RequestUrl,
  toRequestUrl,
} from './bounded-request.ts';
import { addDiagnosis, type LoadDiagnoses, type MetadataAttempt } from './diagnosis.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import { BEYOND_KEYS_TIMEOUT, beyondTimeout, serverLabel } from './server-request.ts';
import type { JsonObject } from './token-text.ts';

/**
 * The URLs of an issuer's metadata, in order of preference.
 * @see RFC 8414 section 3.1 (inserted before the issuer's path), OpenID Connect Discovery 1.0 section 4 (appended)
 */
export function metadataUrls(issuer: string): readonly string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  return [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ];
}

type EndpointField = 'token_endpoint' | 'introspection_endpoint';

/** An endpoint of a server, and all endpoints of its metadata that belong to it alone. */
interface FoundEndpoint {
  readonly endpoint: string;
  readonly claimed: readonly string[];
}

/**
 * Reads an endpoint of a server from its metadata, for clients with a certificate the separate one. Pure.
 * @throws {CambistError} ERR_STS_METADATA_INVALID if the document is unusable or belongs to another issuer
 * @see RFC 8414 section 3.3: `issuer` must be identical; RFC 8705 section 5: `mtls_endpoint_aliases`
 */
export function readMetadata(response: HttpResponse, server: AuthorizationServer, field: EndpointField): FoundEndpoint {
  const rules = { ...server, name: serverLabel(server), issuer: server.issuer ?? '' };
  const document = readDocument(response, rules);
  const aliases = objectOf(document.mtls_endpoint_aliases);
  const isSeparate = hasCertificate(server.tls) && aliases[field] !== undefined;
  const endpoint = readEndpoint(isSeparate ? aliases : document, field, rules);
  // A server has a token endpoint in any case, and may have introspection for clients with a certificate alone.
  const isTwo = isSeparate && field === 'token_endpoint';
  return { endpoint, claimed: isTwo ? [readEndpoint(document, field, rules), endpoint] : [endpoint] };
}

interface IssuerRules {
  readonly name: string;
  readonly issuer: string;
  readonly allowInsecureHttp: boolean;
}

/** Reads the URL of an issuer's keys from its metadata. Pure. @throws {CambistError} ERR_STS_METADATA_INVALID */
export function readJwksUri(response: HttpResponse, rules: IssuerRules): string {
  return readEndpoint(readDocument(response, rules), 'jwks_uri', rules);
}

/**
 * Checks an endpoint that metadata names. An https issuer must name https, and only an issuer on loopback may name loopback.
 * Otherwise metadata could send a client secret in clear text, or to an admin port of this pod.
 * @returns why metadata must not name it
 */
function endpointProblem(
  endpoint: URL,
  issuer: string,
  allowInsecureHttp: boolean,
): 'insecure' | 'loopback' | undefined {
  const { protocol, hostname } = new URL(issuer);
  if (isLoopback(endpoint.hostname) && !isLoopback(hostname)) return 'loopback';
  if (endpoint.protocol === 'https:') return undefined;
  const mayBePlain = protocol === 'http:' && (allowInsecureHttp || mayUsePlainHttp(endpoint.hostname));
  return endpoint.protocol === 'http:' && mayBePlain ? undefined : 'insecure';
}

function readDocument({ status, text }: HttpResponse, { name, issuer }: IssuerRules): JsonObject {
  if (status !== 200) throw invalid(name, `the request for its metadata returned status ${status}`);
  let document: JsonObject;
  try {
    document = objectOf(JSON.parse(text));
  } catch {
    throw invalid(name, 'its metadata is invalid JSON');
  }
  if (document.issuer !== issuer) {
    throw invalid(name, 'its metadata belongs to another issuer: set "issuer" to the exact issuer in the metadata');
  }
  return document;
}

function readEndpoint(
  document: JsonObject,
  field: EndpointField | 'jwks_uri',
  { name, issuer, allowInsecureHttp }: IssuerRules,
): string {
  const endpoint = document[field];
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint)) {
    throw invalid(name, `its metadata has no usable "${field}": set "${field}"`);
  }
  switch (endpointProblem(new URL(endpoint), issuer, allowInsecureHttp)) {
    case 'insecure':
      throw invalid(
        name,
        `its metadata names a "${field}" without https: make the server publish its https URL, or set "${field}"`,
      );
    case 'loopback':
      throw invalid(
        name,
        `its metadata names a "${field}" on loopback, but the issuer is on another host: make the server publish ` +
          `its own address, or set "${field}"`,
      );
    default:
      return endpoint;
  }
}

function objectOf(value: unknown): JsonObject {
  return Object(value) as JsonObject;
}

function invalid(name: string, why: string): CambistError {
  return new CambistError('ERR_STS_METADATA_INVALID', `${name}: ${why}`);
}

/**
 * Fetches the metadata of an authorization server, and reads an endpoint from it.
 * @param untilMs deadline of a bounded request, for all URLs together
 * @throws {CambistError} ERR_STS_METADATA_INVALID if no URL has a usable document of this issuer, ERR_STS_UNAVAILABLE if a later
 *   attempt may succeed
 */
export async function discover(
  server: AuthorizationServer,
  field: EndpointField,
  dispatcher: Dispatcher,
  untilMs: number,
  diagnoses?: LoadDiagnoses,
): Promise<FoundEndpoint> {
  const peer = { name: serverLabel(server), issuer: server.issuer ?? '' };
  const read = (response: HttpResponse) => readMetadata(response, server, field);
  const attempts: MetadataAttempt[] = [];
  try {
    return await fetchMetadata(peer, beyondTimeout(server), dispatcher, untilMs, read, attempts);
  } catch (error) {
    await addDiagnosis(error, diagnoses, (catalogue, { message }) =>
      catalogue.discovery({ server, attempts, message }),
    );
    throw error;
  }
}

/** Finds the URL of an issuer's keys. @throws {CambistError} ERR_STS_METADATA_INVALID, ERR_STS_UNAVAILABLE */
export function discoverJwksUri(rules: IssuerRules, dispatcher: Dispatcher, untilMs: number): Promise<string> {
  return fetchMetadata(rules, BEYOND_KEYS_TIMEOUT, dispatcher, untilMs, (response) => readJwksUri(response, rules));
}

/** @param beyondLimit the limit that a response exceeded, and how to fix it */
async function fetchMetadata<T>(
  { name, issuer }: Pick<IssuerRules, 'name' | 'issuer'>,
  beyondLimit: string,
  dispatcher: Dispatcher,
  untilMs: number,
  read: (response: HttpResponse) => T,
  seen?: MetadataAttempt[],
): Promise<T> {
  const missing: string[] = [];
  let failure: CambistError | undefined;
  let passing: CambistError | undefined;
  for (const url of metadataUrls(issuer)) {
    let response: HttpResponse;
    try {
      const headers = { accept: 'application/json' };
      response = await boundedRequest(dispatcher, { method: 'GET', url: toRequestUrl(url), headers, untilMs });
    } catch (cause) {
      seen?.push({ url, response: undefined, error: cause });
      passing ??= notFetched(name, `its metadata at ${url}`, beyondLimit, cause);
      // The time is for both URLs.
      if (isTimeout(cause)) break;
      continue;
    }
    seen?.push({ url, response, error: undefined });
    const { status } = response;
    if (status === 200) {
      try {
        return read(response);
      } catch (error) {
        if (!(error instanceof CambistError)) throw error;
        failure ??= new CambistError(error.code, `${error.message} (metadata at ${url})`);
      }
    } else if (isPassing(status)) {
      passing ??= unavailable(name, `the request for its metadata at ${url} returned status ${status}`);
    } else {
      missing.push(`${url} (${status})`);
    }
  }
  // A problem within a document is more useful than a missing document at the other URL.
  throw failure ?? passing ?? invalid(name, `no metadata at ${missing.join(', ')}: check "issuer"`);
}

/** @param what it is, as in `its keys` @param cause what `boundedRequest` threw */
export function notFetched(name: string, what: string, beyondLimit: string, cause: unknown): CambistError {
  return unavailable(
    name,
    `${what} ${isTimeout(cause) ? `did not arrive ${beyondLimit}` : 'cannot be fetched'}`,
    cause,
  );
}

export function unavailable(name: string, why: string, cause?: unknown): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', `${name}: ${why}`, { cause });
}

/** The metadata is read again after this time. The known endpoint stays in use meanwhile, and if that fails. */
const METADATA_LIFETIME_MS = 60 * 60 * 1000;
/** Minimum delay before reading the metadata again after a failure. */
const METADATA_COOLDOWN_MS = 60 * 1000;

interface LocatorOptions {
  readonly server: AuthorizationServer;
  readonly field: EndpointField;
  /** Where it is not configured, the metadata has it. */
  readonly configured: string | undefined;
  readonly dispatcher: (server: AuthorizationServer) => Dispatcher | Promise<Dispatcher>;
  readonly claims: EndpointClaims;
  readonly clock: Clock;
  readonly diagnoses?: LoadDiagnoses | undefined;
}

/**
 * Finds an endpoint of a server: in the config, or by discovery.
 * @returns a function that is synchronous while the endpoint is known
 * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID
 */
export function createEndpointLocator(options: LocatorOptions): () => RequestUrl | Promise<RequestUrl> {
  const { server, field, dispatcher, claims, clock, diagnoses } = options;
  const configured = options.configured === undefined ? undefined : toRequestUrl(options.configured);
  let discovered: RequestUrl | undefined;
  let renewAtMs = 0;
  let discovering: Promise<RequestUrl> | undefined;

  async function discoverNow(): Promise<RequestUrl> {
    const pool = await dispatcher(server);
    const untilMs = performance.now() + server.timeoutMs;
    const { endpoint, claimed } = await discover(server, field, pool, untilMs, diagnoses);
    claims.claim(server, claimed);
    discovered = toRequestUrl(endpoint);
    renewAtMs = clock.monotonicMs() + METADATA_LIFETIME_MS;
    return discovered;
  }

  /** Concurrent requests share one discovery. */
  function discoverOnce(): Promise<RequestUrl> {
    discovering ??= discoverNow().finally(() => {
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
